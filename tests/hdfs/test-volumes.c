/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which volumes are in a directory: what has no file "volume", or hides it, is none; but
 * where the NameNode does not say, the listing fails.
 */
#undef NDEBUG
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"
#include "fake-namenode.h"
#include "hdfs/types.h"
#include "namenode.pb-c.h"
#include "store/hdfs.h"

#define ANSWER_BYTES 512

/* ---- A NameNode with directories "a", "b" and "c" -------------------------- */

static Pb__Permission mode = { PROTOBUF_C_MESSAGE_INIT(&pb__permission__descriptor), 0755 };
static uint8_t defaults[ANSWER_BYTES], listing[ANSWER_BYTES], identity[ANSWER_BYTES];
static size_t defaults_len, listing_len, identity_len;

static struct fake_reply looks[3];      /* what is said of a/volume, b/volume, c/volume */
static unsigned looked;                 /* the fake's thread */

static const struct fake_reply denied = {
    .what = FAKE_EXCEPTION, .class = "org.apache.hadoop.security.AccessControlException",
    .body = "Permission denied: user=me",
};
static const struct fake_reply broken = {
    .what = FAKE_EXCEPTION, .class = "java.io.IOException", .body = "something broke",
};
static const struct fake_reply missing = { .what = FAKE_ANSWER, .body = "" };
static const struct fake_reply is_there = {
    .what = FAKE_ANSWER, .body = identity, /* .len: when it is asked for */
};

static struct fake_reply reply(void *opaque, const struct fake_call *c)
{
    struct fake_reply r = { .what = FAKE_HANG_UP };

    if (strcmp(c->method, "getServerDefaults") == 0) {
        r = (struct fake_reply){ FAKE_ANSWER, .body = defaults, .len = defaults_len };
    } else if (strcmp(c->method, "getListing") == 0) {
        r = (struct fake_reply){ FAKE_ANSWER, .body = listing, .len = listing_len };
    } else if (strcmp(c->method, "getFileInfo") == 0 && looked < 3) {
        r = looks[looked++];
        r.len = r.body == identity ? identity_len : r.len;
    }
    return r;
}

static void file_init(Pb__FileStatus *f, int kind, char *name)
{
    static char nobody[] = "nobody";

    pb__file_status__init(f);
    f->kind = kind;
    f->path = (ProtobufCBinaryData){ strlen(name), (uint8_t *)name };
    f->permission = &mode;
    f->owner = f->group = nobody;
}

static int setup(void **state)
{
    static char names[3][2] = { "a", "b", "c" }, none[] = "";
    Pb__ServerDefaults d = PB__SERVER_DEFAULTS__INIT;
    Pb__ServerDefaultsResponse dr = PB__SERVER_DEFAULTS_RESPONSE__INIT;
    Pb__FileStatus files[3], *list[3], file;
    Pb__Listing l = PB__LISTING__INIT;
    Pb__ListingResponse lr = PB__LISTING_RESPONSE__INIT;
    Pb__FileResponse fr = PB__FILE_RESPONSE__INIT;

    d.block_size = 128 << 20;
    d.bytes_per_checksum = 512;
    d.write_packet_size = 65536;
    d.replication = 3;
    d.file_buffer_size = 4096;
    dr.defaults = &d;
    defaults_len = pb__server_defaults_response__pack(&dr, defaults);
    for (unsigned i = 0; i < 3; i++) {
        file_init(&files[i], HDFS_DIRECTORY, names[i]);
        list[i] = &files[i];
    }
    l.n_files = 3;
    l.files = list;
    lr.listing = &l;
    listing_len = pb__listing_response__pack(&lr, listing);
    file_init(&file, HDFS_FILE, none);
    fr.file = &file;
    identity_len = pb__file_response__pack(&fr, identity);
    return 0;
}

/* ---- Tests ----------------------------------------------------------------- */

static char found[64];

static int note(void *opaque, const char *name)
{
    (void)snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s ", name);
    return 0;
}

static int list(struct fake_reply a, struct fake_reply b, struct fake_reply c)
{
    struct fake *fake;
    char authority[32];
    struct hdfs_store_params p = {
        .authority = authority, .path = "/dir", .user = "me",
        .conf_dir = "/",    /* there is none in it */
    };
    int res;

    looks[0] = a;
    looks[1] = b;
    looks[2] = c;
    looked = 0;
    found[0] = '\0';
    fake = fake_new(reply, NULL);
    (void)snprintf(authority, sizeof(authority), "127.0.0.1:%u", fake_port(fake));
    res = hdfs_store_volumes(&p, note, NULL);
    fake_free(fake);
    return res;
}

static void what_is_no_volume_is_left_out(void **state)
{
    assert_int_equal(list(is_there, missing, is_there), 0);
    assert_string_equal(found, "a c ");
    assert_int_equal(list(missing, denied, is_there), 0);
    assert_string_equal(found, "c ");
}

static void what_cannot_be_told_fails_the_listing(void **state)
{
    int res = list(is_there, broken, is_there);

    assert_true(res < 0 && res != -ENOENT);
    assert_string_equal(found, "a ");
    assert_non_null(strstr(error_text(), "/dir/b/volume: "));
    assert_non_null(strstr(error_text(), "something broke"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_volume_is_left_out),
        cmocka_unit_test(what_cannot_be_told_fails_the_listing),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
