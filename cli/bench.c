/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench.c - hlfs bench: what is asked for, what the process used, the report. */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define REQUEST_BYTES_MAX (UINT64_C(32) << 20)
#define BUFFER_BYTES_MAX (UINT64_C(1) << 30)    /* of all unfinished requests */
#define HOLE_PROBES 64
#define POOL_SEGMENTS 8                         /* the most that the library keeps */
#define POOL_POLL_MS 100
/* Polls without a change: then the spare files are all there, or no more will come. */
#define POOL_CALM 5
#define POOL_PATIENCE 50

/* ---- What is asked for ---------------------------------------------------- */

static int io_parse(const char *text, enum load_io *ret)
{
    static const char *const names[] = { "read", "write", "rw" };

    for (unsigned i = 0; text && i < ARRAY_SIZE(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum load_io)i;
            return EXIT_OK;
        }
    }
    return fail_usage("bench needs --io read, --io write or --io rw");
}

static int time_parse(const char *text, uint64_t *ret_ns)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds > 0 && seconds <= 1e6)) {
        return fail_usage("--time cannot be \"%s\": it is a number of seconds "
                          "above 0, up to 1000000", text);
    }
    *ret_ns = seconds < 1e-9 ? 1 : (uint64_t)(seconds * 1e9);   /* 0: no limit */
    return EXIT_OK;
}

/* The number that option INDEX gives, or what *RET holds where it is not given. */
static int number_parse(const struct arguments *a, enum option_index index,
                        const char *name, uint64_t min, uint64_t max, uint64_t *ret)
{
    return a->value[index] ? count_parse(name, a->value[index], min, max, ret) : EXIT_OK;
}

static int numbers_parse(const struct arguments *a, struct load *load)
{
    uint64_t size = 4096, depth = 1, threads = 1, seed = 0;
    int status = number_parse(a, OPTION_SIZE, "--size", 512, REQUEST_BYTES_MAX, &size);

    if (status == EXIT_OK) {
        status = number_parse(a, OPTION_DEPTH, "--depth", 1, 4096, &depth);
    }
    if (status == EXIT_OK) {
        status = number_parse(a, OPTION_THREADS, "--threads", 1, 256, &threads);
    }
    if (status == EXIT_OK) {
        status = number_parse(a, OPTION_FLUSH_EVERY, "--flush-every", 1, UINT32_MAX,
                              &load->flush_every);
    }
    if (status == EXIT_OK) {
        status = number_parse(a, OPTION_COUNT, "--count", 1, UINT64_C(1) << 40,
                              &load->count);
    }
    if (status == EXIT_OK) {
        status = number_parse(a, OPTION_RANGE, "--range", 512, HLFS_SIZE_MAX,
                              &load->range_bytes);
    }
    if (status == EXIT_OK) {
        status = number_parse(a, OPTION_SEED, "--seed", 0, UINT32_MAX, &seed);
    }
    if (status != EXIT_OK) {
        return status;
    }
    if (size % 512 != 0) {
        return fail_usage("--size is a multiple of 512, which %" PRIu64 " is not", size);
    }
    if (size * depth * threads > BUFFER_BYTES_MAX) {
        return fail_usage("--size x --depth x --threads is %s: %s is the most",
                          size_format(size * depth * threads).text,
                          size_format(BUFFER_BYTES_MAX).text);
    }
    load->request_bytes = (uint32_t)size;
    load->depth = (unsigned)depth;
    load->threads = (unsigned)threads;
    load->seeded = a->value[OPTION_SEED] != NULL;
    load->seed = (uint32_t)seed;
    return EXIT_OK;
}

static int load_parse(const struct arguments *a, struct load *load)
{
    const char *pattern = a->value[OPTION_PATTERN] ? a->value[OPTION_PATTERN] : "rand";
    const char *seconds = a->value[OPTION_TIME];
    int status = io_parse(a->value[OPTION_IO], &load->io);

    load->random = strcmp(pattern, "rand") == 0;
    if (status == EXIT_OK && !load->random && strcmp(pattern, "seq") != 0) {
        status = fail_usage("--pattern is seq or rand, not \"%s\"", pattern);
    }
    if (status == EXIT_OK) {
        status = numbers_parse(a, load);
    }
    if (status == EXIT_OK && (seconds || load->count == 0)) {
        status = time_parse(seconds ? seconds : "10", &load->time_ns);
    }
    load->verify = a->value[OPTION_VERIFY] != NULL;
    load->progress = isatty(STDERR_FILENO);
    if (status == EXIT_OK && load->verify && load->io != LOAD_WRITE) {
        status = fail_usage("--verify goes with --io write: it reads back what was "
                            "written");
    }
    if (status == EXIT_OK && load->seeded &&
        (load->verify || load->io == LOAD_RW || load->count == 0 || seconds)) {
        status = fail_usage("--seed goes with --count and with --io write or --io read, "
                            "which compares; not with --time or --verify");
    }
    if (status == EXIT_OK && load->flush_every > 0 && load->io == LOAD_READ) {
        status = fail_usage("--flush-every means nothing where nothing is written");
    }
    return status;
}

/* Fit LOAD to the open volume. */
static int range_fit(struct load *load)
{
    uint64_t size = hlfs_size(load->volume);
    uint64_t requests;

    if (load->range_bytes > size) {
        return fail("--range is larger than the volume, which has %" PRIu64 " bytes",
                    size);
    }
    if (load->range_bytes == 0) {
        load->range_bytes = size;
    }
    requests = load->range_bytes / load->request_bytes;
    load->range_bytes = requests * load->request_bytes;
    if (requests < load->threads) {
        return fail("the range is too small: each thread needs room for a request");
    }
    if (load->verify && requests / load->threads <= load->depth) {
        return fail("the range is too small to verify: each thread needs room for more "
                    "requests than its depth");
    }
    if (load->seeded &&
        (load->count > requests || (!load->random && load->threads > 1))) {
        return fail("with --seed the range has room for %" PRIu64 " requests, and "
                    "sequential ones come from one thread", requests);
    }
    return EXIT_OK;
}

/* Wait until the library, which sees an idle volume, has laid out its spare files. */
static int pool_warm(struct hlfs *v)
{
    const struct timespec poll = { .tv_nsec = POOL_POLL_MS * 1000000L };
    struct hlfs_info info = { 0 };
    uint64_t pool_bytes = 0;
    unsigned calm = 0, patience = POOL_PATIENCE;
    int r = hlfs_flush(v);      /* a volume that was asked nothing yet prepares nothing */

    while (r == 0 && calm < patience) {
        r = hlfs_get_info(v, &info, sizeof(info));
        calm = info.pool_bytes == pool_bytes ? calm + 1 : 0;
        pool_bytes = info.pool_bytes;
        patience = pool_bytes >= POOL_SEGMENTS * info.segment_bytes ? POOL_CALM
                                                                    : POOL_PATIENCE;
        (void)nanosleep(&poll, NULL);
    }
    return r < 0 ? fail("bench: the spare files cannot be laid out: %s", strerror(-r))
                 : EXIT_OK;
}

/* Reading what was never written costs next to nothing, and shows next to nothing. */
static void holes_warn(const struct load *load)
{
    unsigned holes = 0;

    for (unsigned i = 0; i < HOLE_PROBES; i++) {
        uint64_t requests = load->range_bytes / load->request_bytes;
        uint64_t offset = requests * i / HOLE_PROBES * load->request_bytes;
        enum hlfs_status status;
        uint64_t len;

        if (hlfs_block_status(load->volume, load->request_bytes, offset, &status,
                              &len) < 0) {
            return;
        }
        holes += status == HLFS_STATUS_HOLE;
    }
    if (holes > 0) {
        warn("bench: %u of %u places looked at were never written: reads of holes are "
             "no reads of the store", holes, HOLE_PROBES);
    }
}

/* ---- What the process used ------------------------------------------------ */

struct usage {
    uint64_t cpu_us;            /* user and system, all threads */
    int64_t written_bytes;      /* -1: the kernel does not say */
    int64_t read_bytes;
};

struct usage_span {
    struct usage begin, end;
};

/* The number after NAME in a file of /proc, -1 if there is none. */
static int64_t proc_read(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    char line[256];
    int64_t value = -1;
    size_t len = strlen(name);

    while (f && value < 0 && fgets(line, sizeof(line), f)) {
        if (strncmp(line, name, len) == 0) {
            value = strtoll(line + len, NULL, 10);
        }
    }
    if (f) {
        (void)fclose(f);
    }
    return value;
}

static void usage_mark(void *opaque, bool end)
{
    struct usage_span *span = opaque;
    struct usage *u = end ? &span->end : &span->begin;
    struct rusage ru;

    (void)getrusage(RUSAGE_SELF, &ru);
    u->cpu_us = ((uint64_t)ru.ru_utime.tv_sec + (uint64_t)ru.ru_stime.tv_sec) * 1000000 +
                (uint64_t)ru.ru_utime.tv_usec + (uint64_t)ru.ru_stime.tv_usec;
    u->written_bytes = proc_read("/proc/self/io", "write_bytes:");
    u->read_bytes = proc_read("/proc/self/io", "read_bytes:");
}

/* ---- The report ----------------------------------------------------------- */

struct report {
    const char *location;
    const char *io, *pattern;
    const struct load *load;
    const struct load_result *result;
    double open_us;
    double seconds;
    double iops;
    double cpu_us_per_io;
    int64_t written_bytes, read_bytes;  /* -1: unknown */
    int64_t rss_bytes;                  /* -1: unknown */
};

static void report_fill(struct report *p, const struct usage_span *span)
{
    double requests = (double)(p->result->requests ? p->result->requests : 1);
    int64_t rss_kib = proc_read("/proc/self/status", "VmHWM:");
    bool known = span->begin.written_bytes >= 0 && span->end.written_bytes >= 0;

    p->seconds = (double)p->result->elapsed_ns / 1e9;
    p->iops = (double)p->result->requests / p->seconds;
    p->cpu_us_per_io = (double)(span->end.cpu_us - span->begin.cpu_us) / requests;
    p->written_bytes = known ? span->end.written_bytes - span->begin.written_bytes : -1;
    p->read_bytes = known ? span->end.read_bytes - span->begin.read_bytes : -1;
    p->rss_bytes = rss_kib < 0 ? -1 : rss_kib * 1024;
}

static double quantile_us(const struct histogram *h, double fraction)
{
    return (double)histogram_quantile(h, fraction) / 1000;
}

/* Was what is in the volume compared with what was written? */
static bool report_verified(const struct report *p)
{
    return p->load->verify || (p->load->seeded && p->load->io == LOAD_READ);
}

static void json_add_known(struct json_object *o, const char *key, int64_t value)
{
    json_object_object_add(o, key, value < 0 ? NULL : json_object_new_int64(value));
}

static void report_json(const struct report *p)
{
    const struct load_result *r = p->result;
    struct json_object *o = json_object_new_object();

    json_add_string(o, "location", p->location);
    json_add_string(o, "io", p->io);
    json_add_string(o, "pattern", p->pattern);
    json_add_uint(o, "request_bytes", p->load->request_bytes);
    json_add_uint(o, "depth", p->load->depth);
    json_add_uint(o, "threads", p->load->threads);
    json_add_uint(o, "flush_every", p->load->flush_every);
    json_add_uint(o, "range_bytes", p->load->range_bytes);
    json_add_double(o, "open_us", p->open_us);
    json_add_uint(o, "requests", r->requests);
    json_add_uint(o, "writes", r->writes);
    json_add_double(o, "elapsed_s", p->seconds);
    json_add_double(o, "iops", p->iops);
    json_add_double(o, "bytes_per_s", p->iops * p->load->request_bytes);
    json_add_double(o, "p50_us", quantile_us(&r->latency, 0.5));
    json_add_double(o, "p99_us", quantile_us(&r->latency, 0.99));
    json_add_double(o, "p999_us", quantile_us(&r->latency, 0.999));
    json_add_double(o, "max_us", (double)r->latency.max / 1000);
    json_add_uint(o, "flushes", r->flushes);
    json_add_double(o, "flush_p50_us", quantile_us(&r->flush_latency, 0.5));
    json_add_double(o, "flush_p99_us", quantile_us(&r->flush_latency, 0.99));
    json_add_double(o, "final_flush_us", (double)r->final_flush_ns / 1000);
    json_add_double(o, "cpu_us_per_io", p->cpu_us_per_io);
    json_add_known(o, "written_bytes", p->written_bytes);
    json_add_known(o, "read_bytes", p->read_bytes);
    json_add_known(o, "rss_bytes", p->rss_bytes);
    json_add_uint(o, "buffer_bytes", r->buffer_bytes);
    if (report_verified(p)) {
        json_add_known(o, "verified_blocks", r->verified_blocks);
    }
    json_print(o);
}

static void print_known(const char *name, int64_t bytes)
{
    printf("%-10s%s\n", name, bytes < 0 ? "unknown" : size_format((uint64_t)bytes).text);
}

static void report_print(const struct report *p)
{
    const struct load_result *r = p->result;

    printf("%s, %s, %s, depth %u, %u thread%s, in %s\n", p->io, p->pattern,
           size_format(p->load->request_bytes).text, p->load->depth, p->load->threads,
           p->load->threads == 1 ? "" : "s", size_format(p->load->range_bytes).text);
    printf("%-10s%.2f ms\n", "open", p->open_us / 1000);
    printf("%-10s%" PRIu64 " in %.2f s, %.2f s of it for the final flush\n", "requests",
           r->requests, p->seconds, (double)r->final_flush_ns / 1e9);
    printf("%-10s%.0f IOPS, %s/s\n", "rate", p->iops,
           size_format((uint64_t)(p->iops * p->load->request_bytes)).text);
    printf("%-10sp50 %.2f us, p99 %.2f us, p99.9 %.2f us, most %.2f us\n", "latency",
           quantile_us(&r->latency, 0.5), quantile_us(&r->latency, 0.99),
           quantile_us(&r->latency, 0.999), (double)r->latency.max / 1000);
    if (r->flushes > 0) {
        printf("%-10s%" PRIu64 ", p50 %.2f us, p99 %.2f us\n", "flushes", r->flushes,
               quantile_us(&r->flush_latency, 0.5), quantile_us(&r->flush_latency, 0.99));
    }
    printf("%-10s%.2f us per request\n", "cpu", p->cpu_us_per_io);
    print_known("written", p->written_bytes);
    print_known("read", p->read_bytes);
    print_known("memory", p->rss_bytes);
    print_known("buffers", (int64_t)r->buffer_bytes);
    if (report_verified(p) && r->verified_blocks >= 0) {
        printf("%-10s%" PRId64 " blocks are as written\n", "verified",
               r->verified_blocks);
    }
}

static int verify_status(const char *location, const struct load_result *r)
{
    if (r->verified_blocks >= 0) {
        return EXIT_OK;
    }
    if (r->verified_blocks == -EBADMSG) {
        return fail("bench: %s at byte %" PRIu64 " is not what was written there last",
                    location, r->error_offset);
    }
    return fail("bench: cannot read %s at byte %" PRIu64 " back: %s", location,
                r->error_offset, strerror((int)-r->verified_blocks));
}

/* ---- The command ---------------------------------------------------------- */

static int load_fail(const char *location, const struct load *load,
                     const struct load_result *result, int error)
{
    if (error == -EILSEQ && load->seeded) {
        return fail("bench: %s at byte %" PRIu64 " does not hold what --seed %" PRIu32
                    " wrote there", location, result->error_offset, load->seed);
    }
    return fail("bench: a request to %s at byte %" PRIu64 " failed: %s", location,
                result->error_offset, strerror(-error));
}

static int bench_measure(const struct arguments *a, struct load *load, double open_us)
{
    struct load_result *result = calloc(1, sizeof(*result));
    struct usage_span span;
    struct report report = {
        .location = a->operands[0],
        .io = a->value[OPTION_IO],
        .pattern = load->random ? "rand" : "seq",
        .load = load,
        .result = result,
        .open_us = open_us,
    };
    int status = result ? range_fit(load) : fail("out of memory");
    int r;

    if (status == EXIT_OK && a->value[OPTION_WARM_POOL]) {
        status = pool_warm(load->volume);
    }
    if (status == EXIT_OK && load->io != LOAD_WRITE && !load->seeded) {
        holes_warn(load);
    }
    if (status == EXIT_OK) {
        r = load_run(load, usage_mark, &span, result);
        if (r < 0) {
            status = load_fail(a->operands[0], load, result, r);
        }
    }
    if (status == EXIT_OK) {
        report_fill(&report, &span);
        (a->value[OPTION_JSON] ? report_json : report_print)(&report);
        status = verify_status(a->operands[0], result);
    }
    free(result);
    return status;
}

int bench_run(const struct arguments *a)
{
    struct timespec begin, end;
    struct load load = { 0 };
    int status = load_parse(a, &load);
    int r;

    if (status != EXIT_OK) {
        return status;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    /* To measure reads changes nothing. */
    status = volume_open(a, a->operands[0], load.io == LOAD_READ ? HLFS_RDONLY : 0,
                         &load.volume);
    if (status != EXIT_OK) {
        return status;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    status = bench_measure(a, &load, (double)(end.tv_sec - begin.tv_sec) * 1e6 +
                                     (double)(end.tv_nsec - begin.tv_nsec) / 1e3);
    r = hlfs_close(load.volume);
    if (r < 0 && status == EXIT_OK) {
        status = fail_library(r, a->operands[0]);
    }
    return status;
}
