/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume gets another size: what is added reads as zeros, whatever stood there before,
 * and what is cut off never comes back, whoever writes there meanwhile.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <pthread.h>

#include "localvol.h"

#define RACES 25u

static uint8_t buf[MIB(3)];

static struct hlfs *new_volume(uint64_t size)
{
    localvol_init();
    localvol_create(size, 0, NULL);
    return localvol_open(0, 0, NULL);
}

static struct hlfs *again(struct hlfs *v)
{
    assert_int_equal(hlfs_close(v), 0);
    return localvol_open(0, 0, NULL);
}

static void end(struct hlfs *v)
{
    assert_int_equal(hlfs_close(v), 0);
    localvol_done();
}

/* Is [OFFSET, + LEN) all BYTE? */
static bool holds(struct hlfs *v, uint64_t offset, size_t len, uint8_t byte)
{
    assert_int_equal(hlfs_pread(v, buf, len, offset), 0);
    return buf[0] == byte && memcmp(buf, buf + 1, len - 1) == 0;
}

static void put(struct hlfs *v, uint64_t offset, size_t len, uint8_t byte)
{
    memset(buf, byte, len);
    assert_int_equal(hlfs_pwrite(v, buf, len, offset, 0), 0);
}

/* ---- One after the other -------------------------------------------------- */

/* As qemu-img does it: made with no size at all, then grown. */
static void from_nothing(void **state _unused_)
{
    struct hlfs *v = new_volume(0);

    assert_int_equal(hlfs_pwrite(v, buf, 512, 0, 0), -EINVAL);
    assert_int_equal(hlfs_resize(v, MIB(2) + 512, 0), 0);
    assert_int_equal(hlfs_size(v), MIB(2) + 512);
    assert_true(holds(v, 0, MIB(2) + 512, 0));
    put(v, 0, MIB(2) + 512, 1);
    v = again(v);
    assert_int_equal(hlfs_size(v), MIB(2) + 512);
    assert_true(holds(v, 0, MIB(2) + 512, 1));
    end(v);
}

/* The last block is a partial one, before and after: its rest is zeros. */
static void cut_off_and_grown(void **state _unused_)
{
    static const uint64_t sizes[] = {
        KIB(12) + 512, KIB(12), KIB(16) - 512, MIB(1) + KIB(4), MIB(2) + 1024, 0,
    };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t size = sizes[i];
        struct hlfs *v = new_volume(MIB(3) - 512);

        put(v, 0, MIB(3) - 512, 1);
        assert_int_equal(hlfs_resize(v, size, HLFS_SHRINK), 0);
        assert_int_equal(hlfs_size(v), size);
        assert_int_equal(hlfs_pread(v, buf, 512, size), -EINVAL);
        if (i % 2) {
            v = again(v);
        }
        assert_int_equal(hlfs_resize(v, MIB(3), 0), 0);
        if (i % 3) {
            v = again(v);
        }
        assert_true(size == 0 || holds(v, 0, size, 1));
        assert_true(holds(v, size, MIB(3) - size, 0));
        end(v);
    }
}

/* What is cut off takes no room any more. */
static void room_comes_back(void **state _unused_)
{
    struct hlfs_info i;
    struct hlfs *v = new_volume(MIB(3));

    put(v, 0, MIB(3), 1);
    v = again(v);
    assert_int_equal(hlfs_get_info(v, &i, sizeof(i)), 0);
    assert_true(i.live_bytes >= MIB(3));
    assert_int_equal(hlfs_resize(v, MIB(1), HLFS_SHRINK), 0);
    v = again(v);
    assert_int_equal(hlfs_get_info(v, &i, sizeof(i)), 0);
    assert_true(i.live_bytes >= MIB(1) && i.live_bytes < MIB(1) + KIB(64));
    end(v);
}

static void what_is_refused(void **state _unused_)
{
    struct hlfs *v = new_volume(MIB(1));

    assert_int_equal(hlfs_resize(v, MIB(1) - 512, 0), -EINVAL);
    assert_int_equal(hlfs_resize(v, MIB(1) + 1, 0), -EINVAL);
    assert_int_equal(hlfs_resize(v, HLFS_SIZE_MAX + 512, 0), -EINVAL);
    assert_int_equal(hlfs_resize(v, MIB(2), 1u << 7), -EINVAL);
    assert_int_equal(hlfs_size(v), MIB(1));
    assert_int_equal(hlfs_resize(v, MIB(1), 0), 0);
    assert_int_equal(hlfs_resize(v, HLFS_SIZE_MAX, 0), 0);
    put(v, HLFS_SIZE_MAX - 512, 512, 1);
    assert_int_equal(hlfs_close(v), 0);
    v = localvol_open(LOCAL_READ_ONLY, VOLUME_RDONLY, NULL);
    assert_int_equal(hlfs_size(v), HLFS_SIZE_MAX);
    assert_true(holds(v, HLFS_SIZE_MAX - 512, 512, 1));
    assert_int_equal(hlfs_resize(v, MIB(2), HLFS_SHRINK), -EROFS);
    end(v);
}

/* Two at once: the second is told so, and can be made afterwards. */
static void one_at_a_time(void **state _unused_)
{
    struct hlfs_completion c;
    struct hlfs_queue *q;
    struct hlfs *v = new_volume(MIB(1));

    assert_int_equal(hlfs_queue_new(v, 4, &q), 0);
    assert_int_equal(hlfs_submit_resize(q, MIB(2), 0, buf), 0);
    assert_int_equal(hlfs_submit_resize(q, MIB(3), 0, NULL), -EBUSY);
    assert_int_equal(hlfs_queue_reap(q, &c, 1, -1), 1);
    assert_ptr_equal(c.tag, buf);
    assert_int_equal(c.result, 0);
    assert_int_equal(hlfs_submit_resize(q, MIB(3), 0, NULL), 0);
    assert_int_equal(hlfs_queue_reap(q, &c, 1, -1), 1);
    assert_int_equal(hlfs_size(v), MIB(3));
    hlfs_queue_free(q);
    end(v);
}

/* ---- Somebody writes meanwhile -------------------------------------------- */

struct writer {
    struct hlfs *v;
    pthread_t thread;
    unsigned kind;
};

/* Requests of several pieces, of which later ones lie behind the new size. */
static void *write_until_refused(void *opaque)
{
    struct writer *w = opaque;
    const size_t len = w->kind == 0 ? MIB(3) : KIB(256) + 512;
    uint8_t *bytes = malloc(len);
    int res = 0;

    CHECK(bytes, "no memory");
    memset(bytes, 7, len);
    for (uint64_t at = 0; res == 0; at = (at + MIB(1)) % MIB(5)) {
        res = w->kind == 2 ? hlfs_zero(w->v, len, at + 512, 0) :
              hlfs_pwrite(w->v, bytes, len, at, 0);
    }
    CHECK(res == -EINVAL, "a write ended with %d", res);
    free(bytes);
    return NULL;
}

static void nothing_is_written_behind_the_end(void **state _unused_)
{
    struct hlfs *v = new_volume(MIB(8));

    for (unsigned i = 0; i < RACES; i++) {
        struct writer w[3] = { { .kind = 0 }, { .kind = 1 }, { .kind = 2 } };
        const uint64_t size = MIB(1) + 512 * i;

        for (size_t k = 0; k < ARRAY_SIZE(w); k++) {
            w[k].v = v;
            assert_int_equal(pthread_create(&w[k].thread, NULL, write_until_refused,
                                            &w[k]), 0);
        }
        (void)usleep(3000);
        assert_int_equal(hlfs_resize(v, size, HLFS_SHRINK), 0);
        for (size_t k = 0; k < ARRAY_SIZE(w); k++) {
            assert_int_equal(pthread_join(w[k].thread, NULL), 0);
        }
        assert_int_equal(hlfs_resize(v, MIB(8), 0), 0);
        for (uint64_t at = size; at < MIB(8); at += MIB(1)) {
            assert_true(holds(v, at, MIN(MIB(1), MIB(8) - at), 0));
        }
    }
    end(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_nothing),
        cmocka_unit_test(cut_off_and_grown),
        cmocka_unit_test(room_comes_back),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(nothing_is_written_behind_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
