/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NEVER UINT64_MAX
#define SETS_MAX (1u << 20)     /* sets of zeros tried; far beyond what histories need */
#define UNIT_WORDS (MODEL_UNIT / 8)
#define GARBAGE UINT64_MAX      /* a unit that no request wrote */

struct request {
    uint64_t id;
    enum model_kind kind;
    bool fua;
    bool failed;
    uint64_t first, end;            /* units */
    uint64_t submitted, answered;   /* NEVER: not, or with an error */
};

struct edge {                       /* learned: BEFORE comes before AFTER (indices) */
    size_t before, after;
};

struct model {
    uint64_t units;
    uint64_t *base;                 /* by unit: who wrote it before, 0: zero */
    uint64_t *shown;                /* by unit, of the image under check */
    bool *covered;
    uint64_t now;
    uint64_t last_id;
    struct request requests[MODEL_REQUESTS];
    size_t count;
    struct edge *edges;
    size_t edge_count, edge_max;
    /* The check under way: */
    bool in_set[MODEL_REQUESTS];    /* S */
    bool left[MODEL_REQUESTS];      /* not yet taken off */
    bool optional[MODEL_REQUESTS];  /* not in S, and may be taken off or dropped */
    size_t zeros[MODEL_REQUESTS];   /* further zeros that S may have */
    size_t zero_count;
    unsigned sets;
    size_t prefix_count;
    char error[1800];
};

static void *get_memory(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (!p) {
        abort();
    }
    return p;
}

struct model *model_new(uint64_t bytes)
{
    struct model *m = get_memory(1, sizeof(*m));

    m->units = bytes / MODEL_UNIT;
    m->base = get_memory(m->units, sizeof(*m->base));
    m->shown = get_memory(m->units, sizeof(*m->shown));
    m->covered = get_memory(m->units, sizeof(*m->covered));
    return m;
}

void model_free(struct model *m)
{
    if (m) {
        free(m->base);
        free(m->shown);
        free(m->covered);
        free(m->edges);
        free(m);
    }
}

const char *model_error(const struct model *m)
{
    return m->error;
}

size_t model_count(const struct model *m)
{
    return m->count;
}

size_t model_prefix_count(const struct model *m)
{
    return m->prefix_count;
}

uint64_t model_now(const struct model *m)
{
    return m->now;
}

__attribute__((format(printf, 2, 3)))
static bool refuse(struct model *m, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(m->error, sizeof(m->error), format, args);
    va_end(args);
    return false;
}

/* ---- Requests ------------------------------------------------------------- */

bool model_has_room(const struct model *m)
{
    return m->count < MODEL_REQUESTS;
}

uint64_t model_submit(struct model *m, enum model_kind kind, uint64_t offset,
                      uint64_t len, bool fua)
{
    struct request *r = &m->requests[m->count];

    if (m->count == MODEL_REQUESTS) {
        abort();
    }
    *r = (struct request){
        .id = ++m->last_id,
        .kind = kind,
        .fua = fua,
        .first = offset / MODEL_UNIT,
        .end = (offset + len) / MODEL_UNIT,
        .submitted = ++m->now,
        .answered = NEVER,
    };
    m->count++;
    return r->id;
}

static struct request *request_of(struct model *m, uint64_t id)
{
    size_t low = 0, high = m->count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (m->requests[mid].id < id) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < m->count && m->requests[low].id == id ? &m->requests[low] : NULL;
}

void model_answer(struct model *m, uint64_t id, int result)
{
    struct request *r = request_of(m, id);

    if (!r) {
        return;     /* a stranger's */
    }
    ++m->now;
    if (result < 0) {
        r->failed = true;
    } else {
        r->answered = m->now;
    }
}

uint64_t model_stranger(struct model *m)
{
    return ++m->last_id;
}

/* ---- Bytes ---------------------------------------------------------------- */

static uint64_t unit_word(uint64_t id, uint64_t unit, unsigned word)
{
    uint64_t z = id * 0x9E3779B97F4A7C15u ^ unit * 0xC2B2AE3D27D4EB4Fu ^ word;

    return (z ^ z >> 29) * 0xBF58476D1CE4E5B9u | 1;
}

void model_fill(void *buf, uint64_t id, uint64_t offset, uint64_t len)
{
    uint64_t words[UNIT_WORDS];
    uint8_t *to = buf;

    for (uint64_t at = 0; at < len; at += MODEL_UNIT) {
        uint64_t unit = (offset + at) / MODEL_UNIT;

        words[0] = id;
        for (unsigned i = 1; i < UNIT_WORDS; i++) {
            words[i] = unit_word(id, unit, i);
        }
        memcpy(to + at, words, sizeof(words));
    }
}

/* Who wrote the unit at P: a number, 0 (zeros) or GARBAGE. */
static uint64_t unit_writer(const uint8_t *p, uint64_t unit)
{
    uint64_t words[UNIT_WORDS];

    memcpy(words, p, sizeof(words));
    for (unsigned i = 1; i < UNIT_WORDS; i++) {
        if (words[i] != (words[0] ? unit_word(words[0], unit, i) : 0)) {
            return GARBAGE;
        }
    }
    return words[0];
}

static uint64_t value_of(const struct request *r)
{
    return r->kind == MODEL_WRITE ? r->id : 0;
}

static bool touches(const struct request *r, uint64_t unit)
{
    return unit >= r->first && unit < r->end;
}

static uint64_t unit_offset(uint64_t unit)
{
    return unit * MODEL_UNIT;
}

/* What is known of the requests that touch UNIT, for the reader of an error. */
static void tell_history(struct model *m, uint64_t unit)
{
    size_t at = strlen(m->error);

    for (size_t i = 0; i < m->count && at < sizeof(m->error); i++) {
        const struct request *r = &m->requests[i];

        if (r->kind == MODEL_FLUSH || touches(r, unit)) {
            at += (size_t)snprintf(
                m->error + at, sizeof(m->error) - at, "\n    %llu %s%s [%llu, %llu) at "
                "%llu to %lld%s%s", (unsigned long long)r->id,
                r->kind == MODEL_WRITE ? "write" : r->kind == MODEL_ZERO ? "zero" :
                "flush", r->fua ? " fua" : "", (unsigned long long)unit_offset(r->first),
                (unsigned long long)unit_offset(r->end), (unsigned long long)r->submitted,
                (long long)r->answered, r->failed ? " failed" : "",
                m->in_set[i] ? " *" : "");
        }
    }
}

/* ---- Order ---------------------------------------------------------------- */

static bool is_change(const struct request *r)
{
    return r->kind != MODEL_FLUSH;
}

/* Put into S whatever comes before something in S. */
static void close_downwards(struct model *m)
{
    bool again = true;

    while (again) {
        uint64_t last = 0;

        again = false;
        for (size_t i = 0; i < m->count; i++) {
            if (m->in_set[i]) {
                last = MAX(last, m->requests[i].submitted);
            }
        }
        for (size_t i = 0; i < m->count; i++) {
            const struct request *r = &m->requests[i];

            if (is_change(r) && !m->in_set[i] && r->answered < last) {
                m->in_set[i] = again = true;
            }
        }
        for (size_t i = 0; i < m->edge_count; i++) {
            const struct edge *e = &m->edges[i];

            if (m->in_set[e->after] && !m->in_set[e->before]) {
                m->in_set[e->before] = again = true;
            }
        }
    }
}

static bool comes_before(const struct model *m, size_t a, size_t b)
{
    if (m->requests[a].answered < m->requests[b].submitted) {
        return true;
    }
    for (size_t i = 0; i < m->edge_count; i++) {
        if (m->edges[i].before == a && m->edges[i].after == b) {
            return true;
        }
    }
    return false;
}

/* Has request I a successor among those left?  LAST: the latest submitted of them. */
static bool has_successor(const struct model *m, size_t i, uint64_t last)
{
    if (m->requests[i].answered < last) {
        return true;
    }
    for (size_t e = 0; e < m->edge_count; e++) {
        if (m->edges[e].before == i && m->left[m->edges[e].after]) {
            return true;
        }
    }
    return false;
}

/* ---- One set S ------------------------------------------------------------ */

/* The first unit of request R that neither it nor anything after it explains. */
static uint64_t first_odd_unit(const struct model *m, const struct request *r)
{
    uint64_t value = value_of(r);

    for (uint64_t u = r->first; u < r->end; u++) {
        if (!m->covered[u] && m->shown[u] != value) {
            return u;
        }
    }
    return NEVER;
}

static bool take_one_off(struct model *m)
{
    uint64_t last = 0;
    bool any = false;

    for (size_t i = 0; i < m->count; i++) {
        if (m->left[i]) {
            last = MAX(last, m->requests[i].submitted);
        }
    }
    for (size_t i = m->count; i > 0; i--) {
        const struct request *r = &m->requests[i - 1];

        if (!m->left[i - 1] || has_successor(m, i - 1, last) ||
            first_odd_unit(m, r) != NEVER) {
            continue;
        }
        m->left[i - 1] = false;
        memset(m->covered + r->first, true, r->end - r->first);
        any = true;
        if (r->submitted == last) {
            return true;        /* LAST is another one now */
        }
    }
    return any;
}

static bool refuse_left(struct model *m)
{
    for (size_t i = m->count; i > 0; i--) {
        const struct request *r = &m->requests[i - 1];
        uint64_t u = m->left[i - 1] ? first_odd_unit(m, r) : NEVER;

        if (u != NEVER) {
            (void)refuse(m, "offset %llu shows request %llu; request %llu, which is in "
                         "the prefix, is not explained. Who touched that unit (* in the "
                         "prefix):", (unsigned long long)unit_offset(u),
                         (unsigned long long)m->shown[u], (unsigned long long)r->id);
            tell_history(m, u);
            return false;
        }
    }
    return refuse(m, "the order learned from reads has a circle");
}

/* Zeros that nothing comes after, and before which S has all: they join freely. */
static void join_optional(struct model *m)
{
    uint64_t missing = NEVER;       /* the first answer of what is not in S */

    for (size_t i = 0; i < m->count; i++) {
        if (is_change(&m->requests[i]) && !m->in_set[i]) {
            missing = MIN(missing, m->requests[i].answered);
        }
    }
    for (size_t i = 0; i < m->count; i++) {
        const struct request *r = &m->requests[i];

        m->optional[i] = r->kind == MODEL_ZERO && r->answered == NEVER &&
                         !m->in_set[i] && r->submitted < missing;
        m->left[i] |= m->optional[i];
    }
}

/*
 * Nothing can be taken off: drop the optional zero that was submitted last.  Whatever
 * another one keeps from being taken off this one does, too, so no way on keeps it.
 */
static bool drop_optional(struct model *m)
{
    for (size_t i = m->count; i > 0; i--) {
        if (m->left[i - 1] && m->optional[i - 1]) {
            m->left[i - 1] = false;
            return true;
        }
    }
    return false;
}

/* Is there an order of S after which the volume shows what it shows? */
static bool set_explains(struct model *m)
{
    memset(m->covered, 0, m->units * sizeof(*m->covered));
    memcpy(m->left, m->in_set, sizeof(m->left));
    join_optional(m);
    while (take_one_off(m) || drop_optional(m)) {
    }
    m->prefix_count = 0;
    for (size_t i = 0; i < m->count; i++) {
        m->prefix_count += m->in_set[i];
        if (m->left[i]) {
            return refuse_left(m);
        }
    }
    for (uint64_t u = 0; u < m->units; u++) {
        if (!m->covered[u] && m->shown[u] != m->base[u]) {
            (void)refuse(m, "offset %llu shows request %llu where nothing in the prefix "
                         "wrote, and %llu was there before. Who touched that unit:",
                         (unsigned long long)unit_offset(u),
                         (unsigned long long)m->shown[u],
                         (unsigned long long)m->base[u]);
            tell_history(m, u);
            return false;
        }
    }
    return true;
}

/*
 * All downward closed sets of the further zeros, each once: zero I is left out, and
 * with it all that come after it, or is in.
 */
static bool sets_try(struct model *m, size_t i, const bool *out)
{
    bool kept[MODEL_REQUESTS], next_out[MODEL_REQUESTS];
    size_t z;

    if (++m->sets > SETS_MAX) {
        return refuse(m, "undecided: more than %u sets of zeros", SETS_MAX);
    }
    if (i == m->zero_count) {
        return set_explains(m);
    }
    z = m->zeros[i];
    memcpy(next_out, out, sizeof(next_out));
    next_out[z] = true;
    if (!m->in_set[z] && sets_try(m, i + 1, next_out)) {
        return true;
    }
    for (size_t j = 0; j < i; j++) {
        if (out[m->zeros[j]] && comes_before(m, m->zeros[j], z)) {
            return false;
        }
    }
    memcpy(kept, m->in_set, sizeof(kept));
    m->in_set[z] = true;
    close_downwards(m);
    if (sets_try(m, i + 1, out)) {
        return true;
    }
    memcpy(m->in_set, kept, sizeof(kept));
    return false;
}

/* ---- Checks --------------------------------------------------------------- */

/* Read IMAGE; what it shows to have happened goes into S. */
static bool image_read(struct model *m, const void *image)
{
    for (uint64_t u = 0; u < m->units; u++) {
        uint64_t id = unit_writer((const uint8_t *)image + unit_offset(u), u);
        struct request *r = request_of(m, id);

        m->shown[u] = id;
        if (id == GARBAGE) {
            return refuse(m, "offset %llu shows what nobody ever wrote",
                          (unsigned long long)unit_offset(u));
        }
        if (r && r->kind == MODEL_WRITE && touches(r, u)) {
            m->in_set[r - m->requests] = true;
        } else if (id != 0 && id != m->base[u]) {
            (void)refuse(m, "offset %llu shows request %llu, which was never to be seen "
                         "there (before: %llu). Who touched that unit:",
                         (unsigned long long)unit_offset(u), (unsigned long long)id,
                         (unsigned long long)m->base[u]);
            tell_history(m, u);
            return false;
        }
    }
    return true;
}

/* S as it is, or with more of the answered zeros. */
static bool set_and_zeros_explain(struct model *m)
{
    bool out[MODEL_REQUESTS] = { false };

    if (set_explains(m)) {      /* nearly always; else the zeros are tried */
        return true;
    }
    m->zero_count = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (m->requests[i].kind == MODEL_ZERO && !m->in_set[i] &&
            m->requests[i].answered != NEVER) {
            m->zeros[m->zero_count++] = i;
        }
    }
    return m->zero_count > 0 && sets_try(m, 0, out);
}

/* Put into S all that was answered before unanswered zero I.  False: nothing new. */
static bool make_way(struct model *m, size_t i)
{
    const struct request *z = &m->requests[i];
    bool any = false;

    if (z->kind != MODEL_ZERO || z->answered != NEVER) {
        return false;
    }
    for (size_t j = 0; j < m->count; j++) {
        const struct request *r = &m->requests[j];

        if (is_change(r) && !m->in_set[j] && r->answered < z->submitted) {
            m->in_set[j] = any = true;
        }
    }
    close_downwards(m);
    return any;
}

/*
 * S explains IMAGE, or S and some more zeros do.  What an unanswered zero needs before
 * it is among what a later submitted one needs: so many sets, one larger than the other.
 */
static bool explained(struct model *m, const void *image)
{
    char first_error[sizeof(m->error)];
    bool smallest[MODEL_REQUESTS];

    if (!image_read(m, image)) {
        return false;
    }
    m->sets = 0;
    close_downwards(m);
    if (set_and_zeros_explain(m)) {
        return true;
    }
    memcpy(first_error, m->error, sizeof(first_error));
    for (size_t i = 0; i < m->count; i++) {
        if (!make_way(m, i)) {
            continue;
        }
        memcpy(smallest, m->in_set, sizeof(smallest));
        if (set_and_zeros_explain(m)) {
            return true;
        }
        memcpy(m->in_set, smallest, sizeof(smallest));
    }
    if (m->sets <= SETS_MAX) {
        memcpy(m->error, first_error, sizeof(first_error));
    }
    return false;
}

bool model_check_prefix(struct model *m, const void *image, uint64_t durable_at)
{
    uint64_t flushed = 0;

    memset(m->in_set, 0, sizeof(m->in_set));
    for (size_t i = 0; i < m->count; i++) {
        const struct request *r = &m->requests[i];

        if ((r->kind == MODEL_FLUSH || r->fua) && !r->failed && r->answered != NEVER &&
            r->answered <= durable_at) {
            flushed = MAX(flushed, r->submitted);
            m->in_set[i] = r->fua;
        }
    }
    for (size_t i = 0; i < m->count; i++) {
        if (is_change(&m->requests[i]) && m->requests[i].answered < flushed) {
            m->in_set[i] = true;
        }
    }
    return explained(m, image);
}

bool model_check_crash(struct model *m, const void *image)
{
    if (!model_check_prefix(m, image, NEVER)) {
        return false;
    }
    memcpy(m->base, m->shown, m->units * sizeof(*m->base));
    m->count = 0;
    m->edge_count = 0;
    return true;
}

static void edge_add(struct model *m, size_t before, size_t after)
{
    if (comes_before(m, before, after)) {
        return;
    }
    if (m->edge_count == m->edge_max) {
        m->edge_max = MAX(2 * m->edge_max, (size_t)64);
        m->edges = realloc(m->edges, m->edge_max * sizeof(*m->edges));
        if (!m->edges) {
            abort();
        }
    }
    m->edges[m->edge_count++] = (struct edge){ before, after };
}

/* The volume at rest shows request AFTER at UNIT: all others there came before it. */
static void learn_unit(struct model *m, uint64_t unit, size_t after)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct request *r = &m->requests[i];

        if (i != after && is_change(r) && touches(r, unit) && r->answered != NEVER) {
            edge_add(m, i, after);
        }
    }
}

bool model_check_rest(struct model *m, const void *image)
{
    uint64_t now = ++m->now;

    memset(m->in_set, 0, sizeof(m->in_set));
    for (size_t i = 0; i < m->count; i++) {
        m->in_set[i] = is_change(&m->requests[i]) && m->requests[i].answered != NEVER;
    }
    if (!explained(m, image)) {
        return false;
    }
    for (uint64_t u = 0; u < m->units; u++) {
        struct request *r = request_of(m, m->shown[u]);

        if (r) {
            r->answered = MIN(r->answered, now);    /* with an error, too: it is there */
            learn_unit(m, u, (size_t)(r - m->requests));
        }
    }
    return true;
}

/* Could a read that began at BEGAN show ID at UNIT? */
static bool unit_readable(struct model *m, uint64_t unit, uint64_t id, uint64_t began)
{
    uint64_t newest = 0;    /* submitted: of what had been answered before it began */

    for (size_t i = 0; i < m->count; i++) {
        const struct request *r = &m->requests[i];

        if (is_change(r) && touches(r, unit) && r->answered <= began) {
            newest = MAX(newest, r->submitted);
        }
    }
    if (newest == 0 && id == m->base[unit]) {
        return true;
    }
    for (size_t i = 0; i < m->count; i++) {
        const struct request *r = &m->requests[i];

        /* It may be the last one if none that was answered in time came after it. */
        if (is_change(r) && touches(r, unit) && value_of(r) == id &&
            (r->answered == NEVER || r->answered > newest)) {
            return true;
        }
    }
    return false;
}

bool model_check_read(struct model *m, uint64_t offset, uint64_t len, uint64_t began,
                      const void *buf)
{
    for (uint64_t at = 0; at < len; at += MODEL_UNIT) {
        uint64_t unit = (offset + at) / MODEL_UNIT;
        uint64_t id = unit_writer((const uint8_t *)buf + at, unit);

        if (!unit_readable(m, unit, id, began)) {
            (void)refuse(m, "a read that began at %llu shows request %lld at offset %llu "
                         "(before: %llu). Who touched that unit:",
                         (unsigned long long)began, (long long)id,
                         (unsigned long long)unit_offset(unit),
                         (unsigned long long)m->base[unit]);
            tell_history(m, unit);
            return false;
        }
    }
    return true;
}
