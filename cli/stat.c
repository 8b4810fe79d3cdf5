/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stat.c - hlfs stat: what the process that holds a volume does with it.
 *
 * Two samples make the rates.  All names are those of the answer (hlfs_control() in
 * hlfs.h); --json adds what follows from two samples.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEADER_EVERY 20         /* lines, on a terminal */

struct sampling {
    const struct arguments *arguments;
    char *location;             /* owned */
    uint64_t interval_s;
    struct json_object *before, *now;   /* owned */
    double seconds;             /* between them */
    unsigned lines;
};

static uint64_t number(const struct json_object *sample, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(sample, key, &value) ?
           json_object_get_uint64(value) : 0;
}

static uint64_t get(const struct sampling *s, const char *key)
{
    return number(s->now, key);
}

/* A second. */
static double rate(const struct sampling *s, const char *key)
{
    uint64_t before = number(s->before, key), now = get(s, key);

    return now < before || s->seconds <= 0 ? 0 : (double)(now - before) / s->seconds;
}

/* Bytes that went to the log for each byte that a guest wrote; 0: none was. */
static double write_amplification(const struct sampling *s)
{
    uint64_t written = get(s, "written_bytes");

    return written ? (double)get(s, "log_bytes_written") / (double)written : 0;
}

/* There is nobody to ask: who holds it then? */
static int nobody_said(const struct sampling *s)
{
    struct hlfs_info i;
    int r = info_look(s->arguments, s->location, &i);

    if (r < 0) {
        return fail_library(r, s->location);
    }
    if (!i.holder_alive) {
        return fail("nobody holds %s: there is nothing to show", s->location);
    }
    return fail("%s is held by another writer: host %s, pid %" PRIu32 ", since %s, which "
                "cannot be asked from here: it runs on another machine, for another user "
                "or without the option control", s->location, i.holder_host, i.holder_pid,
                time_format(i.holder_since_us).text);
}

static int sample(const struct sampling *s, struct json_object **ret)
{
    int r = holder_ask(s->arguments, s->location, "stat", ret);

    if (r < 0) {
        json_object_put(*ret);
        *ret = NULL;
        return r == -ENOTCONN ? nobody_said(s) : fail_library(r, s->location);
    }
    return EXIT_OK;
}

static void wait_s(uint64_t seconds)
{
    struct timespec left = { .tv_sec = (time_t)seconds };

    while (nanosleep(&left, &left) < 0) {
    }
}

/* ---- One at a time -------------------------------------------------------- */

static void print_json(const struct sampling *s)
{
    static const char *const rates[] = {
        "reads", "read_bytes", "writes", "written_bytes", "flushes", "discards",
    };

    for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
        char key[64];

        (void)snprintf(key, sizeof(key), "%s_per_s", rates[i]);
        json_add_double(s->now, key, rate(s, rates[i]));
    }
    json_add_double(s->now, "write_amplification", write_amplification(s));
    json_print(json_object_get(s->now));
}

static void print_io(const struct sampling *s, const char *what, const char *count,
                     const char *bytes, const char *latency)
{
    char key[3][32];

    (void)snprintf(key[0], sizeof(key[0]), "%s_p50_us", latency);
    (void)snprintf(key[1], sizeof(key[1]), "%s_p99_us", latency);
    (void)snprintf(key[2], sizeof(key[2]), "%s_p999_us", latency);
    printf("%-16s%.0f/s", what, rate(s, count));
    if (bytes) {
        printf(", %s/s", size_format((uint64_t)rate(s, bytes)).text);
    }
    printf("; half within %" PRIu64 " us, 99 %% %" PRIu64 " us, 99.9 %% %" PRIu64 " us; %"
           PRIu64 " in all\n", get(s, key[0]), get(s, key[1]), get(s, key[2]),
           get(s, count));
}

static void print_size(const struct sampling *s, const char *what, const char *key)
{
    printf("%-16s%s\n", what, size_format(get(s, key)).text);
}

static void print_report(const struct sampling *s)
{
    struct json_object *durability;

    printf("%-16spid %" PRIu64 " for %" PRIu64 " s\n", "held by", get(s, "pid"),
           get(s, "uptime_us") / 1000000);
    print_size(s, "size", "size_bytes");
    print_io(s, "reads", "reads", "read_bytes", "read");
    print_io(s, "writes", "writes", "written_bytes", "write");
    print_io(s, "flushes", "flushes", NULL, "flush");
    printf("%-16s%" PRIu64 " reads, %" PRIu64 " writes and flushes\n", "failed",
           get(s, "read_errors"), get(s, "write_errors"));
    if (json_object_object_get_ex(s->now, "durability", &durability)) {
        printf("%-16s%s%s\n", "flush level", json_object_get_string(durability),
               get(s, "degraded") ? ", degraded: fewer copies than asked for" : "");
    }
    print_size(s, "not yet durable", "dirty_bytes");
    print_size(s, "log", "log_bytes");
    print_size(s, "live", "live_bytes");
    print_size(s, "map in memory", "cache_bytes");
    print_size(s, "changes of it", "layer_bytes");
    printf("%-16s%.2f bytes of log for each byte written\n", "amplification",
           write_amplification(s));
}

/* ---- Watching ------------------------------------------------------------- */

static void print_line(struct sampling *s)
{
    if (s->lines++ % HEADER_EVERY == 0) {
        printf("%10s %12s %10s %12s %9s %9s %9s %9s %10s\n", "reads/s", "read/s",
               "writes/s", "written/s", "flushes/s", "w p99 us", "r p99 us", "f p99 us",
               "dirty");
    }
    printf("%10.0f %12s %10.0f %12s %9.0f %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %10s\n",
           rate(s, "reads"), size_format((uint64_t)rate(s, "read_bytes")).text,
           rate(s, "writes"), size_format((uint64_t)rate(s, "written_bytes")).text,
           rate(s, "flushes"), get(s, "write_p99_us"), get(s, "read_p99_us"),
           get(s, "flush_p99_us"), size_format(get(s, "dirty_bytes")).text);
    (void)fflush(stdout);
}

static int next_sample(struct sampling *s)
{
    int status;

    json_object_put(s->before);
    s->before = s->now;
    s->now = NULL;
    wait_s(s->interval_s);
    status = sample(s, &s->now);
    if (status == EXIT_OK) {
        s->seconds = (double)(get(s, "uptime_us") - number(s->before, "uptime_us")) / 1e6;
    }
    return status;
}

static int stat_show(struct sampling *s)
{
    bool watch = s->arguments->value[OPTION_WATCH];
    bool json = s->arguments->value[OPTION_JSON];
    int status = sample(s, &s->now);

    do {
        if (status == EXIT_OK) {
            status = next_sample(s);
        }
        if (status != EXIT_OK) {
            break;
        }
        if (json) {
            print_json(s);
        } else if (watch) {
            print_line(s);
        } else {
            print_report(s);
        }
    } while (watch && fflush(stdout) == 0);
    return status;
}

int stat_run(const struct arguments *a)
{
    struct sampling s = { .arguments = a, .interval_s = 1 };
    int status = EXIT_OK;

    if (a->value[OPTION_INTERVAL]) {
        status = count_parse("--interval", a->value[OPTION_INTERVAL], 1, 86400,
                             &s.interval_s);
    }
    if (status == EXIT_OK) {
        status = location_split(a->operands[0], &s.location, NULL);
    }
    if (status == EXIT_OK) {
        status = stat_show(&s);
    }
    json_object_put(s.before);
    json_object_put(s.now);
    free(s.location);
    return status;
}
