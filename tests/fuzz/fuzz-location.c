/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locations and option values: text of users, of QEMU's and of nbdkit's command line.
 * The first byte of the input picks the option, the rest is the text.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "location.h"
#include "options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was split off is a location again, and the same one. */
static void fuzz_location(const char *text)
{
    struct location whole, part;
    char *location, *snapshot;

    if (location_parse(text, &part) == 0) {
        assert(part.path[0] && !part.snapshot);
        location_done(&part);
    }
    if (hlfs_location_split(text, &location, &snapshot) < 0) {
        assert(error_text()[0]);
        return;
    }
    assert(location_parse_at(text, &whole) == 0);
    assert(location_parse(location, &part) == 0);
    assert(strcmp(whole.path, part.path) == 0);
    assert(whole.scheme == part.scheme && whole.port == part.port);
    assert(!whole.host == !part.host);
    assert((whole.snapshot && strcmp(whole.snapshot, snapshot) == 0) || !snapshot);
    location_done(&whole);
    location_done(&part);
    free(location);
    free(snapshot);
}

/* What is taken keeps to the limits that the engine relies on. */
static void fuzz_option(unsigned pick, const char *value)
{
    struct hlfs_options *o = hlfs_options_new();
    unsigned count = 0;

    while (hlfs_options_name(count, NULL)) {
        count++;
    }
    if (hlfs_options_set(o, hlfs_options_name(pick % count, NULL), value) < 0) {
        assert(error_text()[0]);
    }
    assert(o->block_bytes >= 4096 && o->block_bytes <= 65536);
    assert((o->block_bytes & (o->block_bytes - 1)) == 0);
    assert(o->segment_bytes % MIB(1) == 0 && o->segment_bytes <= GIB(1));
    assert(o->cache_bytes >= MIB(4) && o->dirty_bytes >= MIB(4));
    assert((o->mode & ~0666u) == 0 && o->ack_timeout_us > 0);
    hlfs_options_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size == 0) {
        return 0;
    }
    text = strndup((const char *)data + 1, size - 1);
    if (text) {
        fuzz_location(text);
        fuzz_option(data[0], text);
    }
    free(text);
    return 0;
}
