/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as core-site.xml: refused with a sentence, or each key can be asked for. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/util.h"
#include "hdfs/nameservice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = { "a", "b", "fs.defaultFS", "dfs.nameservices" };
    static const char *const authorities[] = { "", "a", "h:1" };
    struct conf *c = conf_new();
    struct nameservice s;

    assert(c);
    /* The name has no directory: what is included is sought beside us, in vain. */
    if (conf_load_text(c, "input.xml", (const char *)data, size) < 0) {
        assert(error_text()[0]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        free(conf_get(c, keys[i]));
        (void)conf_bool(c, keys[i], false);
        (void)conf_size(c, keys[i], 0);
        (void)conf_time_us(c, keys[i], 1000, 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(authorities); i++) {
        error_clear();
        if (nameservice_find(c, authorities[i], &s) == 0) {
            assert(s.count > 0 && s.count <= NAMESERVICE_MAX && s.nodes[0].port > 0);
        } else {
            assert(error_text()[0]);
        }
    }
    conf_free(c);
    return 0;
}
