/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver of the log's lane hands its role on, and it does not get lost.
 *
 * Once it did: a driver that left told a thread to drive of which a request had been
 * finished in the same moment.  That one took its completion and went; nobody looked at
 * what the others waited for until the background thread's next tick, up to a second
 * later.  Twelve threads that write parts of blocks, half of them with FUA, met that in
 * one round of eight or so.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <pthread.h>
#include <sys/stat.h>

#include "localvol.h"
#include "volume/private.h"

#define THREADS 12u
#define ROUNDS 150u
#define SIZE MIB(16)
#define STALL_US 250000
#define STALLS_MAX 3u       /* rounds in which the machine itself may stand still */

static uint8_t data[SIZE];
static pthread_barrier_t barrier;
static atomic_uint stalls;
static atomic_bool stalled;

struct worker {
    struct hlfs *v;
    unsigned number;
    struct rng rng;
    pthread_t thread;
};

static void write_part(struct worker *w)
{
    uint8_t part[512];
    uint64_t at = rng_below(&w->rng, SIZE / KIB(4)) * KIB(4) + 512;
    uint64_t start = clock_monotonic_us(&clock_system);

    memset(part, (int)w->number + 1, sizeof(part));
    CHECK(call_write(w->v, part, sizeof(part), at, w->number % 2 ? HLFS_FUA : 0) == 0,
          "write");
    if (clock_monotonic_us(&clock_system) - start > STALL_US) {
        atomic_store(&stalled, true);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        if (w->number == 0) {
            atomic_fetch_add(&stalls, atomic_exchange(&stalled, false));
            (void)usleep(2000);     /* till the lane is idle */
        }
        (void)pthread_barrier_wait(&barrier);
        for (unsigned j = 0; j < 4; j++) {
            write_part(w);
        }
    }
    return NULL;
}

/* In memory where there is such a place: there no sync takes long. */
static void choose_place(void)
{
    struct stat st;

    if (stat("/dev/shm", &st) == 0 && access("/dev/shm", W_OK) == 0) {
        (void)setenv("TMPDIR", "/dev/shm", 1);
    }
}

static void no_request_waits_for_a_tick(void **state _unused_)
{
    struct worker w[THREADS];
    struct hlfs *v;

    choose_place();
    localvol_init();
    localvol_create(SIZE, 0, NULL);
    v = localvol_open(0, 0, NULL);
    memset(data, 0xA5, sizeof(data));       /* so that the rest of each block is read */
    assert_int_equal(call_write(v, data, sizeof(data), 0, HLFS_FUA), 0);
    (void)pthread_barrier_init(&barrier, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){ .v = v, .number = i, .rng = { i + 1 } };
        CHECK(pthread_create(&w[i].thread, NULL, work, &w[i]) == 0, "pthread_create");
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(w[i].thread, NULL);
    }
    (void)pthread_barrier_destroy(&barrier);
    if (atomic_load(&stalls) > STALLS_MAX) {
        fail_msg("a write took more than %u ms in %u of %u rounds", STALL_US / 1000,
                 atomic_load(&stalls), ROUNDS);
    }
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

/*
 * The same without chance: queue A was told to drive, but leaves.  Who of the others is
 * told must be one that waits on, B, and not C, of which something is finished already.
 */
static void who_leaves_tells_the_next(void **state _unused_)
{
    struct hlfs_queue *a, *b, *c;
    struct list *finished;
    struct hlfs *v;

    localvol_init();
    localvol_create(MIB(1), 0, NULL);
    v = localvol_open(0, 0, NULL);
    assert_int_equal(queue_new(v, 1, &a), 0);
    assert_int_equal(queue_new(v, 1, &b), 0);
    assert_int_equal(queue_new(v, 1, &c), 0);
    monitor_stop(v);                /* nobody but us */
    monitor_enter(v);
    v->driver = DRIVER_NONE;
    v->background_ops++;            /* there is something to drive for */
    finished = list_pop(&c->free);
    list_push(&c->finished, finished);
    list_push(&v->resting, &c->resting_node);
    list_push(&v->resting, &b->resting_node);
    a->told = true;
    monitor_leave(v);

    assert_int_equal(queue_reap(a, NULL, 0, 0), 0);
    assert_false(a->told);
    assert_true(b->told);
    assert_false(c->told);

    /* And if there is none, the background thread. */
    list_remove(&b->resting_node);
    v->background_again = false;
    assert_int_equal(queue_reap(b, NULL, 0, 0), 0);
    assert_true(v->background_again);
    v->background_again = false;    /* once */
    assert_int_equal(queue_reap(b, NULL, 0, 0), 0);
    assert_false(v->background_again);

    list_remove(&c->resting_node);
    list_remove(finished);
    list_push(&c->free, finished);
    v->background_ops--;
    queue_free(a);
    queue_free(b);
    queue_free(c);
    assert_int_equal(volume_close(v), 0);
    localvol_done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_leaves_tells_the_next),
        cmocka_unit_test(no_request_waits_for_a_tick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
