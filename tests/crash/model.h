/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model.h - what a volume may contain after a crash: promise 1 of docs/design.md, as an
 * oracle.
 *
 * The model is told of every request when it is submitted and when it is answered.
 * Request A comes before B in the one order of promise 1 if A was answered with success
 * before B was submitted; nothing else is known of that order but what reads of a
 * volume at rest show (model_check_rest).  After a crash model_check_crash() takes the
 * volume's whole content and decides whether it is the state after a prefix of one such
 * order that has everything in it that must not be lost.
 *
 * The answer is exact, for every number of requests at once.  How: bytes are watched in
 * units of MODEL_UNIT bytes, and every unit written names its request (model_fill), so
 * each unit of the content tells its last writer, or is zero.  Let S be the set of
 * requests in the prefix.
 *
 *  - Given S, requests are taken off it from the end: one that has no successor left,
 *    and whose units are each as it wrote them or written by one already taken off.
 *    Taking such a one off at once is never wrong: it only makes more units covered.
 *    If all can be taken off, and the units that none covered are as they were before,
 *    the content is explained; else S has no order that explains it.
 *  - The smallest S is enough: what must be there, what the content shows to be there,
 *    and all that comes before.  A further write that no unit shows would be covered
 *    wholly and can be left out.  Only a further *zero* may be needed, because zeros do
 *    not say whose they are.  Those that were answered are tried in every set that the
 *    order allows, smaller ones first.  Those that were not have no successor: S is tried
 *    with all that comes before each of them, and they join where they can be taken off
 *    and are dropped where they cannot.
 *
 * What is not decided ("slack"): a request that was answered with an error may have
 * happened, wholly or not at all, at any time after it was submitted.  A request longer
 * than 1 MiB is not one: do not submit it.  Where units that are zero are read at rest
 * nothing is learned about the order of the zeros.
 *
 * Stricter than the promise in one point: what a writer found when it opened the volume
 * counts as durable from then on (DESIGN 4 says: before its first flush is answered).
 *
 * One thread.  Out of memory aborts: the tests' programs only.
 */
#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_UNIT 64u          /* bytes; offsets and lengths are multiples of it */
#define MODEL_REQUESTS 1024u    /* between two crashes */

struct model;

enum model_kind { MODEL_WRITE, MODEL_ZERO, MODEL_FLUSH };

struct model *model_new(uint64_t bytes);    /* all zeros */
void model_free(struct model *m);           /* NULL is fine */

/* Is there room for another request before the next crash? */
bool model_has_room(const struct model *m);

/*
 * A request is submitted: its number, from 1, never used again.  FUA: of a write or
 * zero.  LEN 0: of a flush.
 */
uint64_t model_submit(struct model *m, enum model_kind kind, uint64_t offset,
                      uint64_t len, bool fua);
/* It was answered: RESULT 0 or an error.  What is never answered was in flight. */
void model_answer(struct model *m, uint64_t id, int result);

/* The bytes that write ID writes.  Also for a number that was never submitted
 * (model_stranger), whose bytes must never be seen. */
void model_fill(void *buf, uint64_t id, uint64_t offset, uint64_t len);
uint64_t model_stranger(struct model *m);

/*
 * A read of [OFFSET, + LEN) that began at BEGAN (model_now() then) has shown BUF: could
 * it?  False: model_error() says why.
 */
uint64_t model_now(const struct model *m);
bool model_check_read(struct model *m, uint64_t offset, uint64_t len, uint64_t began,
                      const void *buf);

/*
 * The whole content IMAGE of the volume at rest: every request has been answered.  It
 * holds all that were answered with success, and tells of their order.
 */
bool model_check_rest(struct model *m, const void *image);

/*
 * Could a crash at this moment leave IMAGE?  DURABLE_AT: flushes answered until then
 * count (UINT64_MAX: all).  Changes nothing.
 */
bool model_check_prefix(struct model *m, const void *image, uint64_t durable_at);

/* The same for all that was answered; if so IMAGE is what was there "before" from now
 * on, and there are no requests. */
bool model_check_crash(struct model *m, const void *image);

/* One paragraph on the last check that failed. */
const char *model_error(const struct model *m);

/* How many requests there are, and how many of them the image last checked has. */
size_t model_count(const struct model *m);
size_t model_prefix_count(const struct model *m);

#endif
