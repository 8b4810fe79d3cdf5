/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume that is only read, beside a writer.
 *
 * The writer removes segments, and the local store uses their files again, under other
 * names.  A reader that had one open once told its user that the volume was damaged: the
 * bytes did not fit their checksums.  What it promises is -ESTALE, open it again
 * (hlfs.h); and damage it must still call by its name.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "localvol.h"

#define SIZE MIB(16)
#define CHUNK MIB(1)

static uint8_t buf[CHUNK];
static unsigned complaints;

static void hook(void *opaque _unused_, int level, const char *text _unused_)
{
    complaints += level == HLFS_LOG_ERROR;
}

static struct hlfs *open_for_reading(void)
{
    struct hlfs_options *o = hlfs_options_new();
    struct hlfs *v;

    assert_non_null(o);
    hlfs_options_set_log(o, hook, NULL);
    complaints = 0;
    v = localvol_open(LOCAL_READ_ONLY, VOLUME_RDONLY, o);
    hlfs_options_free(o);
    return v;
}

static struct hlfs *new_volume(void)
{
    struct hlfs_options *o = hlfs_options_new();

    assert_non_null(o);
    assert_int_equal(hlfs_options_set(o, "segment-size", "4M"), 0);
    localvol_init();
    localvol_create(SIZE, 0, o);
    hlfs_options_free(o);
    return localvol_open(0, 0, NULL);
}

static void fill(uint8_t *chunk, struct rng *rng)
{
    for (size_t i = 0; i < CHUNK; i += 8) {
        uint64_t x = rng_next(rng);

        memcpy(chunk + i, &x, 8);
    }
}

static void write_all(struct hlfs *v, struct rng *rng)
{
    for (uint64_t at = 0; at < SIZE; at += CHUNK) {
        fill(buf, rng);
        assert_int_equal(call_write(v, buf, CHUNK, at, 0), 0);
    }
    assert_int_equal(call_flush(v), 0);
}

static unsigned count_reads(struct hlfs *v, int result)
{
    unsigned n = 0;

    for (uint64_t at = 0; at < SIZE; at += CHUNK) {
        n += call_read(v, buf, CHUNK, at) == result;
    }
    return n;
}

/*
 * How many reads are stale.  The others give what write_all() wrote from @seed: the
 * files of removed segments may wait in the pool unharmed, for longer where the writer
 * is slow; and no read gives anything else.
 */
static unsigned count_stale(struct hlfs *v, uint64_t seed)
{
    static uint8_t expected[CHUNK];
    struct rng rng = { seed };
    unsigned n = 0;

    for (uint64_t at = 0; at < SIZE; at += CHUNK) {
        int ret = call_read(v, buf, CHUNK, at);

        fill(expected, &rng);
        if (ret == -ESTALE) {
            n++;
        } else {
            assert_int_equal(ret, 0);
            assert_memory_equal(buf, expected, CHUNK);
        }
    }
    return n;
}

static void write_over(struct hlfs *v, struct rng *rng)
{
    write_all(v, rng);
    volume_want_checkpoint(v);
    while (volume_checkpoint_running(v)) {
        (void)usleep(1000);
    }
}

static void removed_segments_are_no_damage(void **state _unused_)
{
    const unsigned all = SIZE / CHUNK;
    struct hlfs *writer = new_volume(), *reader;
    struct rng rng = { 1 };
    unsigned stale = 0;

    write_all(writer, &rng);
    reader = open_for_reading();
    assert_int_equal(count_stale(reader, 1), 0);        /* it has all files open */
    for (unsigned i = 0; i < 200 && stale < all; i++) {
        write_over(writer, &rng);
        stale = count_stale(reader, 1);
    }
    assert_int_equal(stale, all);
    assert_int_equal(complaints, 0);
    assert_int_equal(volume_close(reader), 0);

    reader = open_for_reading();
    assert_int_equal(count_reads(reader, 0), all);
    assert_int_equal(volume_close(reader), 0);
    assert_int_equal(volume_close(writer), 0);
    localvol_done();
}

static int damage_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw _unused_)
{
    int fd;

    if (type != FTW_F || st->st_size < (off_t)MIB(2)) {
        return 0;
    }
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    memset(buf, 0xA5, sizeof(buf));
    assert_int_equal(pwrite(fd, buf, CHUNK, MIB(1) + KIB(64)), CHUNK);
    (void)close(fd);
    return 0;
}

static void damage_stays_damage(void **state _unused_)
{
    struct hlfs *writer = new_volume(), *reader;
    struct rng rng = { 2 };

    write_all(writer, &rng);
    assert_int_equal(volume_close(writer), 0);
    reader = open_for_reading();
    (void)nftw(localvol_path, damage_one, 16, FTW_PHYS);
    assert_true(count_reads(reader, -EBADMSG) > 0);
    assert_int_equal(count_reads(reader, -ESTALE), 0);
    assert_true(complaints > 0);
    assert_int_equal(volume_close(reader), 0);
    localvol_done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(removed_segments_are_no_damage),
        cmocka_unit_test(damage_stays_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
