/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening what remains of a damaged volume (HLFS_RESCUE).  The damages are those of
 * test-damage, and several at once.  Whatever it is, the open succeeds, and
 *
 *   a block whose newest record is whole is right;
 *   any other one gives -EBADMSG, or, if losses were told, what was in it before;
 *
 * never anything else, and nothing is lost silently.  Which record is the newest of a block
 * is found here by reading the undamaged log record by record.  Without damage, also after
 * a crash, it shows what every open shows, and no losses.
 */
#undef NDEBUG   /* keep the test strong in builds without assertions */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "localvol.h"
#include "simdamage.h"
#include "volume/private.h"

#define BLOCK SIMVOL_BLOCK_BYTES
#define HANG_S 60           /* one damage takes milliseconds */

/* ---- What was told --------------------------------------------------------- */

#define TOLD_MAX 64

struct told {
    unsigned count;
    char text[TOLD_MAX][512];   /* the first of them */
    unsigned gaps;
    uint64_t from[4096], to[4096];  /* records that are said to be lost */
    bool older;             /* of discarded blocks older content is said to be possible */
};

static struct told told;

/* "records 3 to 5 are lost", "record 3 at segment 1, offset 8192 is lost" */
static void gap_hear(const char *text)
{
    const char *at = strstr(text, ": record");
    unsigned long long from, to;

    if (!at || !strstr(text, "lost")) {
        return;
    }
    if (sscanf(at, ": records %llu to %llu", &from, &to) != 2) {
        if (sscanf(at, ": record %llu at", &from) != 1) {
            return;
        }
        to = from;
    }
    assert_true(told.gaps < ARRAY_SIZE(told.from));
    told.from[told.gaps] = from;
    told.to[told.gaps++] = to;
}

static void hear(void *opaque, int level, const char *text)
{
    (void)opaque;
    if (level == HLFS_LOG_WARNING) {
        if (told.count < TOLD_MAX) {
            (void)snprintf(told.text[told.count], sizeof(told.text[0]), "%s", text);
        }
        told.count++;
        told.older |= strstr(text, "it may be an older one") != NULL;
        gap_hear(text);
    }
}

static bool record_told(uint64_t seq)
{
    for (unsigned i = 0; i < told.gaps; i++) {
        if (seq >= told.from[i] && seq <= told.to[i]) {
            return true;
        }
    }
    return false;
}

static bool was_told(const char *words)
{
    for (unsigned i = 0; i < MIN(told.count, TOLD_MAX); i++) {
        if (strstr(told.text[i], words)) {
            return true;
        }
    }
    return false;
}

static void told_print(void)
{
    for (unsigned i = 0; i < MIN(told.count, TOLD_MAX); i++) {
        print_message("  told: %s\n", told.text[i]);
    }
}

static void on_signal(int number)
{
    (void)!write(STDERR_FILENO, damage_text, strlen(damage_text));
    (void)!write(STDERR_FILENO, "\n", 1);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

/* ---- Opening and reading ---------------------------------------------------- */

static int open_as(struct sim *sim, unsigned flags, struct hlfs **ret)
{
    struct hlfs_options *o = hlfs_options_new();
    struct store *s;
    int res = sim_store_open(sim, SIM_OPEN_READ_ONLY, &s);

    hlfs_options_set_log(o, hear, NULL);
    memset(&told, 0, sizeof(told));
    if (res == 0) {
        res = volume_open(s, VOLUME_RDONLY | VOLUME_MANUAL | flags, o, ret);
    }
    hlfs_options_free(o);
    return res;
}

static struct hlfs *rescue(struct sim *sim)
{
    struct hlfs *v = NULL;
    int res = open_as(sim, VOLUME_RESCUE, &v);

    if (res < 0) {
        told_print();
        fail_msg("%s: a rescue fails with %d: %s", damage_text, res, error_text());
    }
    return v;
}

/* The content of a volume, block by block. */
struct image {
    size_t blocks;
    uint64_t bytes;
    uint8_t *content;       /* owned */
    int *error;             /* owned, a block each */
    uint64_t failures;
};

static uint64_t block_len(uint64_t bytes, size_t block)
{
    return MIN(BLOCK, bytes - block * BLOCK);
}

/* In large pieces where that works: both ways of reading must agree. */
static struct image image_read(struct hlfs *v)
{
    struct image im = { .bytes = volume_size(v) };

    im.blocks = DIV_ROUND_UP(im.bytes, BLOCK);
    im.content = calloc(im.blocks, BLOCK);
    im.error = calloc(im.blocks, sizeof(*im.error));
    assert_true(im.content && im.error);
    for (uint64_t at = 0; at < im.bytes; at += 16 * BLOCK) {
        uint64_t len = MIN(16 * BLOCK, im.bytes - at);

        if (simvol_call(v, REQUEST_READ, im.content + at, len, at) == 0) {
            continue;
        }
        for (size_t b = at / BLOCK; b * BLOCK < at + len; b++) {
            im.error[b] = simvol_call(v, REQUEST_READ, im.content + b * BLOCK,
                                      block_len(im.bytes, b), b * BLOCK);
            im.failures += im.error[b] < 0;
        }
    }
    return im;
}

static void image_done(struct image *im)
{
    free(im->content);
    free(im->error);
}

/* ---- What was written ------------------------------------------------------- */

#define COPIES_MAX 8

/* The newest record that changed a block, wherever it stands. */
struct writer {
    uint64_t seq;           /* 0: no record that there is */
    uint64_t epoch;
    bool hole;
    unsigned count;
    struct {
        uint64_t file, head_at, payload_at;
        uint32_t head_bytes;
    } copies[COPIES_MAX];
};

struct past {               /* all that was ever in a block; the last is right */
    const uint8_t **content;    /* owned array of borrowed bytes */
    size_t count, room;
};

struct subject {
    struct simvol *vol;
    struct layout *layout;
    uint64_t bytes;
    size_t blocks;
    struct past *past;      /* owned */
    struct writer *writers; /* owned */
    uint64_t last_seq;
    uint8_t *pool;          /* owned: contents that are not those of VOL's states */
    /* What came out, over all damages: */
    uint64_t right, lost, former;
};

static void past_add(struct past *p, const uint8_t *content)
{
    void *bigger = array_room(p->content, p->count, &p->room, sizeof(*p->content));

    assert_non_null(bigger);
    p->content = bigger;
    p->content[p->count++] = content;
}

static bool content_is(const struct subject *t, size_t block, const uint8_t *a,
                       const uint8_t *b)
{
    return memcmp(a, b, block_len(t->bytes, block)) == 0;
}

static void writer_note(struct subject *t, size_t block, const struct file *f, uint64_t at,
                        const struct record_header *h, const struct entry *e)
{
    struct writer *w = &t->writers[block];
    bool again = w->count > 0 && w->copies[w->count - 1].file == f->id &&
                 w->copies[w->count - 1].head_at == at;

    if (h->seq < w->seq) {
        return;
    }
    if (h->seq > w->seq) {
        *w = (struct writer){ .seq = h->seq, .epoch = h->epoch };
    }
    assert_true(w->count < COPIES_MAX);
    w->hole = e->type == ENTRY_HOLE;
    w->count += !again;
    w->copies[w->count - 1].file = f->id;
    w->copies[w->count - 1].head_at = at;
    w->copies[w->count - 1].head_bytes = RECORD_HEADER_BYTES + h->entry_bytes;
    w->copies[w->count - 1].payload_at = at + h->head_bytes + e->payload_offset +
                                         (block - e->block) * BLOCK;
}

static void record_note(struct subject *t, const struct file *f, uint64_t at,
                        const struct record_header *h)
{
    size_t pos = 0;
    struct entry e;

    while (entry_next(f->bytes + at + RECORD_HEADER_BYTES, h->entry_bytes, &pos,
                      h->payload_bytes, BLOCK, true, &e) == 1) {
        uint64_t end = MIN(e.block + e.count, t->blocks);

        for (uint64_t b = e.block; b < end && (e.type == ENTRY_DATA || e.type == ENTRY_HOLE);
             b++) {
            writer_note(t, b, f, at, h, &e);
        }
    }
}

/* Records that a later segment cuts, or that come after the log's end, do not count. */
static void records_note(struct subject *t)
{
    const struct layout *l = t->layout;
    uint64_t bound = t->last_seq + 1;

    for (size_t i = l->file_count; i > 0; i--) {
        const struct file *f = &l->files[i - 1];
        uint32_t seed = segment_seed(&f->header);
        uint64_t at = SEGMENT_DATA_OFFSET;
        struct record_header h;
        size_t need;

        if (f->state != SEGMENT_VALID) {
            continue;
        }
        while (at < f->len && record_decode(f->bytes + at, f->len - at, seed,
                                            f->header.epoch, at, &h, &need) == 0) {
            if (h.seq < bound) {
                record_note(t, f, at, &h);
            }
            at += record_bytes(&h);
        }
        bound = f->header.cut ? MIN(bound, f->header.cut) : bound;
    }
}

/* What the undamaged volume shows is right; here its own books are held against it. */
static void subject_check(struct subject *t)
{
    static const uint8_t zeros[BLOCK];
    struct hlfs *v = NULL;
    struct image im;

    assert_int_equal(open_as(t->vol->sim, 0, &v), 0);
    im = image_read(v);
    assert_int_equal(im.failures, 0);
    assert_int_equal(im.bytes, t->bytes);
    for (size_t b = 0; b < t->blocks; b++) {
        struct writer *w = &t->writers[b];
        const uint8_t *right = t->past[b].content[t->past[b].count - 1];
        bool found = w->hole || w->seq == 0;
        uint8_t bytes[BLOCK];

        assert_true(content_is(t, b, im.content + b * BLOCK, right));
        for (unsigned i = 0; i < w->count && !found; i++) {
            (void)sim_peek(t->vol->sim, w->copies[i].file, w->copies[i].payload_at, bytes,
                           BLOCK);
            found = content_is(t, b, bytes, right);
        }
        if (!found && content_is(t, b, right, zeros)) {
            *w = (struct writer){ 0 };      /* its hole was in a segment that is removed */
            found = true;
        }
        assert_true(found);
    }
    image_done(&im);
    assert_int_equal(volume_close(v), 0);
}

/* What is on the disk of T->vol, whose past is known. */
static void subject_read(struct subject *t)
{
    struct hlfs_info info;
    struct hlfs *v = NULL;

    t->layout = layout_new(t->vol);
    t->writers = calloc(t->blocks, sizeof(*t->writers));
    assert_non_null(t->writers);
    assert_int_equal(open_as(t->vol->sim, 0, &v), 0);
    assert_int_equal(volume_info(v, &info), 0);
    t->last_seq = info.seq;
    assert_int_equal(volume_close(v), 0);
    records_note(t);
    subject_check(t);
}

static void subject_free(struct subject *t)
{
    for (size_t b = 0; b < t->blocks; b++) {
        free(t->past[b].content);
    }
    free(t->past);
    free(t->writers);
    free(t->pool);
    layout_free(t->layout);
    simvol_free(t->vol);
    free(t);
}

static struct subject *subject_new(uint64_t bytes)
{
    struct subject *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->bytes = bytes;
    t->blocks = DIV_ROUND_UP(bytes, BLOCK);
    t->past = calloc(t->blocks, sizeof(*t->past));
    assert_non_null(t->past);
    return t;
}

/* The states that were part of the volume's past: what a taker did not accept was not. */
static void states_take(struct subject *t, const uint8_t *right)
{
    const struct simvol *s = t->vol;
    bool *real = calloc(s->count, sizeof(*real));
    const uint8_t *next = right;

    assert_non_null(real);
    for (size_t i = s->count; i > 0; i--) {
        const struct simvol_state *state = &s->states[i - 1];

        /* Behind one that was not flushed: did it come so far? */
        if (next && memcmp(state->bytes, next, SIMVOL_BYTES) == 0) {
            next = NULL;
        }
        real[i - 1] = next == NULL;
        if (i > 1 && state->seq != UINT64_MAX && s->states[i - 2].seq == UINT64_MAX) {
            next = state->bytes;
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        for (size_t b = 0; b < t->blocks && real[i]; b++) {
            past_add(&t->past[b], s->states[i].bytes + b * BLOCK);
        }
    }
    free(real);
}

static struct subject *subject_of(enum simvol_end end, uint64_t seed)
{
    struct subject *t = subject_new(SIMVOL_BYTES);
    struct hlfs *v = NULL;
    struct image im;

    t->vol = simvol_new(end, seed);
    assert_int_equal(open_as(t->vol->sim, 0, &v), 0);
    im = image_read(v);
    assert_int_equal(volume_close(v), 0);
    states_take(t, im.content);
    image_done(&im);
    subject_read(t);
    return t;
}

/* ---- A volume with a tree of several levels -------------------------------- */

#define WIDE_BYTES MIB(9)
#define WIDE_RUN 8u             /* so many are used, and as many behind them never written */
#define WIDE_USED 1000u
#define WIDE_STEPS 150u
#define WIDE_CONTENTS 8000u

static size_t wide_block(size_t i)
{
    return i + i / WIDE_RUN * WIDE_RUN;
}

/* Write used blocks FROM to TO - 1, or discard them, each run of them at once. */
static void wide_write(struct subject *t, struct hlfs *v, size_t *used, size_t from,
                       size_t to, bool hole, struct rng *r)
{
    for (size_t i = from, n; i < to; i += n) {
        uint8_t *content = t->pool + *used * BLOCK;

        n = MIN(WIDE_RUN - i % WIDE_RUN, to - i);
        assert_true(*used + n < WIDE_CONTENTS);
        for (size_t at = 0; at < n * BLOCK && !hole; at += 8) {
            uint64_t x = rng_next(r);

            memcpy(content + at, &x, 8);
        }
        assert_int_equal(simvol_call(v, hole ? REQUEST_DISCARD : REQUEST_WRITE, content,
                                     n * BLOCK, wide_block(i) * BLOCK), 0);
        for (size_t k = 0; k < n; k++) {
            past_add(&t->past[wide_block(i + k)], hole ? t->pool : content + k * BLOCK);
        }
        *used += hole ? 0 : n;
    }
}

static void wide_checkpoint(struct hlfs *v)
{
    volume_want_checkpoint(v);
    while (volume_checkpoint_running(v)) {
        (void)volume_turn(v, 100000);
    }
}

static struct hlfs *wide_open(struct subject *t, unsigned flags)
{
    struct hlfs *v = NULL;
    int res = simvol_open(t->vol->sim, flags, &v);

    if (res < 0) {
        fail_msg("%s", error_text());
    }
    return v;
}

static void wide_build(struct subject *t, bool holes, struct rng *r)
{
    struct hlfs *v = wide_open(t, 0);
    size_t used = 1;            /* the first content is zeros */

    for (size_t b = 0; b < t->blocks; b++) {
        past_add(&t->past[b], t->pool);
    }
    wide_write(t, v, &used, 0, WIDE_USED, false, r);
    for (unsigned step = 0; step < WIDE_STEPS; step++) {
        size_t from = rng_below(r, WIDE_USED - 40);
        bool hole = holes && rng_one_in(r, 5);

        wide_write(t, v, &used, from, from + 4 + rng_below(r, 36), hole, r);
        assert_int_equal(simvol_call(v, REQUEST_FLUSH, NULL, 0, 0), 0);
        if (step % 30 == 20) {
            wide_checkpoint(v);
        }
        if (step == WIDE_STEPS / 2) {
            assert_int_equal(volume_close(v), 0);
            v = wide_open(t, 0);
        }
    }
    assert_int_equal(volume_close(v), 0);
}

static struct subject *subject_wide(uint64_t seed, bool holes)
{
    struct subject *t = subject_new(WIDE_BYTES);
    struct rng r = { seed };
    struct hlfs_options o;
    struct store *store;

    options_init(&o);
    o.segment_bytes = SIMVOL_SEGMENT_BYTES;
    t->pool = calloc(WIDE_CONTENTS, BLOCK);
    t->vol = calloc(1, sizeof(*t->vol));
    assert_true(t->pool && t->vol);
    t->vol->sim = sim_new(seed);
    assert_int_equal(sim_store_open(t->vol->sim, SIM_OPEN_CREATE, &store), 0);
    assert_int_equal(volume_create(store, WIDE_BYTES, VOLUME_MANUAL, &o), 0);
    assert_int_equal(sim_store_open(t->vol->sim, SIM_OPEN_READ_ONLY, &store), 0);
    assert_int_equal(volume_identity(store, &t->vol->identity), 0);
    store_free(store);
    wide_build(t, holes, &r);
    subject_read(t);
    return t;
}

/* ---- The verdict ------------------------------------------------------------- */

/* Are bytes [AT, AT + LEN) of FILE what they were? */
static bool same(const struct subject *t, const struct sim *sim, uint64_t file, uint64_t at,
                 uint64_t len)
{
    uint8_t *a = calloc(1, len + 1), *b = calloc(1, len + 1);
    bool is = sim_peek(sim, file, at, a, len) == (int64_t)len &&
              sim_peek(t->vol->sim, file, at, b, len) == (int64_t)len &&
              memcmp(a, b, len) == 0;

    free(a);
    free(b);
    return is;
}

static bool header_good(const struct subject *t, const struct sim *sim, uint64_t file)
{
    return same(t, sim, file, 0, SEGMENT_HEADER_BYTES) ||
           same(t, sim, file, SEGMENT_HEADER_COPY, SEGMENT_HEADER_BYTES);
}

static bool footer_good(const struct subject *t, const struct sim *sim, uint64_t file)
{
    for (size_t i = 0; i < t->layout->count; i++) {
        const struct region *g = &t->layout->regions[i];

        if (g->what == FOOTER && g->file == file) {
            return same(t, sim, file, g->from, g->to - g->from);
        }
    }
    return false;
}

/* Can the newest record of BLOCK be used, and is what it wrote there? */
static bool intact(const struct subject *t, const struct sim *sim, size_t block)
{
    const struct writer *w = &t->writers[block];

    for (unsigned i = 0; i < w->count; i++) {
        uint64_t file = w->copies[i].file;

        if (header_good(t, sim, file) &&
            (same(t, sim, file, w->copies[i].head_at, w->copies[i].head_bytes) ||
             footer_good(t, sim, file)) &&
            (w->hole || same(t, sim, file, w->copies[i].payload_at, BLOCK))) {
            return true;
        }
    }
    return false;
}

static bool is_former(const struct subject *t, size_t block, const uint8_t *content)
{
    for (size_t i = 0; i < t->past[block].count; i++) {
        if (content_is(t, block, content, t->past[block].content[i])) {
            return true;
        }
    }
    return false;
}

struct verdict {
    uint64_t losses;
    uint64_t synced;            /* what the rest of the log calls durable */
};

static void wrong(const struct subject *t, const struct sim *sim, size_t block,
                  const struct verdict *d, const char *what)
{
    const struct writer *w = &t->writers[block];

    told_print();
    for (unsigned i = 0; i < w->count; i++) {
        print_message("  its record: segment %llu, offset %llu, payload at %llu, %s\n",
                      (unsigned long long)w->copies[i].file,
                      (unsigned long long)w->copies[i].head_at,
                      (unsigned long long)w->copies[i].payload_at,
                      header_good(t, sim, w->copies[i].file) ? "with a header" :
                      "without a header");
    }
    fail_msg("%s: block %zu, record %llu (synced %llu), which is %s%s: %s; %llu losses",
             damage_text, block, (unsigned long long)w->seq, (unsigned long long)d->synced,
             intact(t, sim, block) ? "whole" : "damaged", w->hole ? ", a hole" : "", what,
             (unsigned long long)d->losses);
}

/* The highest seq below CUT that any valid record of F has, wherever it stands. */
static uint64_t last_below(const struct file *f, uint64_t cut)
{
    uint32_t seed = segment_seed(&f->header);
    uint64_t last = 0;

    for (uint64_t at = SEGMENT_DATA_OFFSET; at < f->len; at += PLACE_UNIT) {
        struct record_header h;
        size_t need;

        if (record_decode(f->bytes + at, f->len - at, seed, f->header.epoch, at, &h,
                          &need) == 0 && h.seq < cut) {
            last = MAX(last, h.seq);
        }
    }
    return last;
}

/*
 * Might whoever took over from the writer of W have left W out?  What was accepted stands in
 * the first header of the next writer; which one was the next is sure if no number is
 * missing between, or one and no record.  Else only what W's writer calls durable is sure.
 */
static bool in_doubt(const struct subject *t, const struct sim *sim, const struct writer *w)
{
    uint64_t synced = 0, last = 0, file = 0, cut = UINT64_MAX;
    bool known = true;

    for (size_t i = 0; i < t->layout->file_count; i++) {
        const struct file *f = &t->layout->files[i];

        if (f->state == SEGMENT_VALID && f->header.epoch > w->epoch) {
            known = false;
            if (header_good(t, sim, f->id)) {
                cut = f->header.epoch == f->id ? f->header.cut : 0;
                break;
            }
        }
    }
    for (size_t i = 0; i < t->layout->file_count; i++) {
        const struct file *f = &t->layout->files[i];

        if (f->state == SEGMENT_VALID && header_good(t, sim, f->id)) {
            struct file now = file_read(sim, f->id, t->vol->identity.uuid);

            if (f->header.epoch <= w->epoch) {
                synced = MAX(synced, now.synced);
                last = MAX(last, last_below(&now, cut));
                file = f->id;
            } else if (!known && cut > 0 && cut != UINT64_MAX) {
                known = f->id == file + 1 || (f->id == file + 2 && last + 1 == cut);
                cut = 0;
            }
            free(now.bytes);
        }
    }
    return !known && w->seq > synced;
}

static void block_judge(struct subject *t, const struct sim *sim, size_t block,
                        const struct image *im, const struct verdict *d)
{
    const struct past *p = &t->past[block];
    const struct writer *w = &t->writers[block];
    const uint8_t *content = im->content + block * BLOCK;
    bool ended = w->seq > d->synced;            /* the log may seem to end before it */

    if (im->error[block] < 0) {
        t->lost++;
        if (im->error[block] != -EBADMSG) {
            wrong(t, sim, block, d, error_name(im->error[block]));
        }
        if (d->losses == 0) {
            wrong(t, sim, block, d, "it cannot be read, and no loss is known");
        }
        if (w->seq != 0 && !ended && intact(t, sim, block) && !in_doubt(t, sim, w)) {
            wrong(t, sim, block, d, "it cannot be read");
        }
        return;
    }
    if (content_is(t, block, content, p->content[p->count - 1])) {
        t->right++;
        return;
    }
    t->former++;
    if (!is_former(t, block, content)) {
        wrong(t, sim, block, d, "it has what never was in it");
    }
    if (ended) {
        return;
    }
    if (d->losses == 0 || (w->seq != 0 && intact(t, sim, block))) {
        wrong(t, sim, block, d, "it has what was in it before");
    }
    if (!record_told(w->seq) && !(told.older && (w->seq == 0 || w->hole)) &&
        (w->seq != 0 || told.gaps == 0)) {
        wrong(t, sim, block, d, "it has what was in it before, and its record is not said to "
              "be lost");
    }
}

/* Without any header nothing can be known. */
static bool epochs_left(const struct subject *t, const struct sim *sim)
{
    for (size_t i = 0; i < t->layout->file_count; i++) {
        if (t->layout->files[i].state == SEGMENT_VALID &&
            header_good(t, sim, t->layout->files[i].id)) {
            return true;
        }
    }
    return false;
}

/* SIM is damaged, in segment ONLY (0: anywhere). */
static void judge_as(struct subject *t, struct sim *sim, uint64_t only)
{
    struct verdict d = {
        .synced = synced_found(t->layout, sim, t->vol->identity.uuid, only),
    };
    struct hlfs *v;
    struct image im;

    (void)alarm(HANG_S);
    v = rescue(sim);
    im = image_read(v);
    d.losses = volume_losses(v);
    if (im.bytes != t->bytes && !was_told("the size of the volume is not known")) {
        fail_msg("%s: the volume has %llu bytes", damage_text, (unsigned long long)im.bytes);
    }
    for (size_t b = 0; b < MIN(t->blocks, im.blocks); b++) {
        block_judge(t, sim, b, &im, &d);
    }
    if (d.losses > 0 && told.count == 0 && im.failures == 0) {
        fail_msg("%s: %llu losses, and none is told", damage_text,
                 (unsigned long long)d.losses);
    }
    image_done(&im);
    assert_int_equal(volume_close(v), 0);
    if (sim_misuse(sim)) {
        fail_msg("%s: %s", damage_text, sim_misuse(sim));
    }
}

static void judge(void *opaque, struct sim *sim, enum structure what, uint64_t file)
{
    (void)what;
    judge_as(opaque, sim, file);
    sim_free(sim);
}

static void outcome_print(const struct subject *t, const char *name)
{
    print_message("%s: %llu blocks right, %llu lost, %llu former\n", name,
                  (unsigned long long)t->right, (unsigned long long)t->lost,
                  (unsigned long long)t->former);
}

/* ---- Without damage ---------------------------------------------------------- */

static void as_ordinary(struct subject *t)
{
    struct hlfs *v = NULL, *plain = NULL;
    struct hlfs_info i, j;
    struct image a, b;

    (void)snprintf(damage_text, sizeof(damage_text), "undamaged");
    assert_int_equal(open_as(t->vol->sim, 0, &plain), 0);
    a = image_read(plain);
    assert_int_equal(volume_info(plain, &i), 0);
    v = rescue(t->vol->sim);
    b = image_read(v);
    assert_int_equal(volume_info(v, &j), 0);
    if (told.count > 0 || volume_losses(v) > 0) {
        told_print();
        fail_msg("an undamaged volume has losses");
    }
    assert_int_equal(a.bytes, b.bytes);
    assert_int_equal(b.failures, 0);
    assert_memory_equal(a.content, b.content, a.bytes);
    assert_int_equal(i.seq, j.seq);
    assert_int_equal(i.synced_seq, j.synced_seq);
    assert_int_equal(i.as_of_us, j.as_of_us);
    assert_int_equal(i.live_bytes, j.live_bytes);
    assert_int_equal(volume_losses(plain), 0);
    image_done(&a);
    image_done(&b);
    assert_int_equal(volume_close(plain), 0);
    assert_int_equal(volume_close(v), 0);
}

static void undamaged_is_as_ordinary(void **state)
{
    (void)state;
    for (enum simvol_end end = 0; end < SIMVOL_ENDS; end++) {
        for (uint64_t seed = 1; seed <= test_seeds(20); seed++) {
            struct subject *t = subject_of(end, seed * 17 + end);

            as_ordinary(t);
            subject_free(t);
        }
    }
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct subject *t = subject_wide(seed, true);

        as_ordinary(t);
        subject_free(t);
    }
}

/* ---- Each damage --------------------------------------------------------------- */

static void each_damage(enum simvol_end end)
{
    struct subject *t = subject_of(end, 7 + end);
    struct simvol *other = simvol_new(end, 107 + end);
    const struct damage_judge j = { judge, t };
    struct rng r = { 7 + end };

    damage_each(t->vol, other, t->layout, &r, &j);
    outcome_print(t, "each damage");
    assert_true(t->right > 1000 && t->lost > 0);   /* it was damage */
    simvol_free(other);
    subject_free(t);
}

static void closed(void **state)
{
    (void)state;
    each_damage(SIMVOL_CLOSED);
}

static void killed_when_idle(void **state)
{
    (void)state;
    each_damage(SIMVOL_MARKED);
}

static void killed_after_a_flush(void **state)
{
    (void)state;
    each_damage(SIMVOL_FLUSHED);
}

static void killed_while_writing(void **state)
{
    (void)state;
    each_damage(SIMVOL_DIRTY);
}

static void taken_over(void **state)
{
    (void)state;
    each_damage(SIMVOL_TAKEN_OVER);
}

/* ---- Forged logs ------------------------------------------------------------------ */

static const uint8_t forged_uuid[UUID_BYTES] = { 7 };

struct forge {
    struct sim *sim;
    struct segment_header h;
    uint64_t at;                /* of the next record */
    uint64_t time_us;
};

static void forge_segment(struct forge *f, uint64_t file, uint64_t epoch, uint64_t first,
                          uint64_t cut, uint64_t synced)
{
    uint8_t buf[SEGMENT_DATA_OFFSET];

    f->h = (struct segment_header){
        .file = file, .epoch = epoch, .size = SIMVOL_SEGMENT_BYTES, .first = first,
        .cut = cut, .synced = synced, .salt = { (uint8_t)file },
    };
    memcpy(f->h.uuid, forged_uuid, UUID_BYTES);
    segment_header_encode(&f->h, buf);
    sim_poke(f->sim, file, 0, buf, sizeof(buf));
    f->at = SEGMENT_DATA_OFFSET;
}

/* BLOCK gets bytes FILL; BLOCK UINT64_MAX: a mark, and 0 with FILL 0: the volume's size. */
static void forge_record(struct forge *f, uint64_t seq, uint64_t synced, uint64_t block,
                         int fill)
{
    static uint8_t buf[2 * BLOCK];
    struct record_header h = {
        .seq = seq, .epoch = f->h.epoch, .synced = synced, .time_us = ++f->time_us,
        .entry_count = 1, .head_bytes = BLOCK,
    };
    uint8_t *entry = buf + RECORD_HEADER_BYTES;

    memset(buf, 0, sizeof(buf));
    if (block == UINT64_MAX) {
        h.entry_bytes = (uint32_t)entry_put_mark(entry);
    } else if (fill == 0) {
        h.entry_bytes = (uint32_t)entry_put_resize(entry, 8 * BLOCK);
    } else {
        h.payload_bytes = BLOCK;
        h.entry_bytes = (uint32_t)entry_put_data(entry, block, 1, 0);
        memset(buf + BLOCK, fill, BLOCK);
        ((struct entry_data_disk *)entry)->crc[0] =
            to_le32(crc32c(0, buf + BLOCK, BLOCK));
    }
    record_encode(buf, &h, segment_seed(&f->h), f->at);
    sim_poke(f->sim, f->h.file, f->at, buf, record_bytes(&h));
    f->at += record_bytes(&h);
}

/* -1: it cannot be read; else the byte that fills BLOCK. */
static int forge_block(struct sim *sim, unsigned flags, uint64_t block)
{
    uint8_t buf[BLOCK];
    struct hlfs *v = NULL;
    int res = open_as(sim, flags, &v);

    if (res < 0) {
        fail_msg("%d: %s", res, error_text());
    }
    res = simvol_call(v, REQUEST_READ, buf, BLOCK, block * BLOCK);
    assert_true(res == 0 || res == -EBADMSG);
    assert_true(!(flags & VOLUME_RESCUE) || res == 0 || volume_losses(v) > 0);
    assert_int_equal(volume_close(v), 0);
    return res < 0 ? -1 : buf[0];
}

/*
 * A writer died; of its last records number 4 is missing, 5 and 6 came.  Who took over cut
 * them off, went on, and now its first segment is gone.  GAP: numbers between the two.
 */
static struct sim *forge_cut(unsigned gap, bool second)
{
    const struct identity id = { .block_bytes = BLOCK, .uuid = { 7 } };
    struct forge f = { .sim = sim_new(1) };
    uint64_t taker = 2 + gap;
    uint8_t buf[IDENTITY_BYTES];
    struct store *s;

    identity_encode(&id, buf);
    assert_int_equal(sim_store_open(f.sim, 0, &s), 0);
    assert_int_equal(store_put(s, "volume", buf, sizeof(buf)), 0);
    store_free(s);
    forge_segment(&f, 1, 1, 1, 1, 0);
    forge_record(&f, 1, 0, 0, 0);
    forge_record(&f, 2, 1, 0, 'a');
    forge_record(&f, 3, 2, 1, 'a');
    f.at += 2 * BLOCK;
    forge_record(&f, 5, 2, 0, 'x');
    forge_record(&f, 6, 2, 3, 'x');
    forge_segment(&f, taker, taker, 4, 4, 3);
    for (uint64_t seq = 4; seq < 10; seq++) {
        forge_record(&f, seq, seq - 1, 2, 'b');
    }
    if (second) {               /* a segment that the taker wrote later */
        forge_segment(&f, taker + 1, taker, 10, 0, 9);
    } else {                    /* a third writer */
        forge_segment(&f, taker + 1, taker + 1, 10, 10, 9);
    }
    forge_record(&f, 10, 9, 4, 'c');
    forge_record(&f, 11, 10, UINT64_MAX, 0);
    return f.sim;
}

/* What was cut does not come back when the segment that cut it is lost. */
static void cut_lost(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        struct sim *sim = forge_cut(i / 2, i % 2);

        (void)snprintf(damage_text, sizeof(damage_text), "a cut that is lost, %u", i);
        assert_int_equal(forge_block(sim, 0, 0), 'a');
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 0), 'a');
        assert_int_equal(told.count, 0);
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 2), 'b');
        assert_int_equal(sim_unlink(sim, 2 + i / 2), 0);

        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 1), 'a');
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 4), 'c');
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 0), -1);   /* 'a', or who knows */
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 3), -1);
        assert_true(was_told("record 5 at segment 1, offset 36864 may be void"));
        assert_true(record_told(4) && record_told(9));
        sim_free(sim);
    }
}

/* What is cut, or torn, does not count, though records behind it are whole: as for any
 * reader. */
static void tails_end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct sim *sim = forge_cut(0, false);
        struct forge f = { .sim = sim };

        (void)snprintf(damage_text, sizeof(damage_text), "tail %u", i);
        forge_segment(&f, 4, 3, 12, 0, 11);
        forge_record(&f, 12, 11, 5, 'd');
        forge_record(&f, 13, 11, 6, 'd');
        forge_record(&f, 14, 11, 7, 'd');
        if (i == 0) {           /* the next writer has accepted up to 12 */
            forge_segment(&f, 5, 5, 13, 13, 12);
            forge_record(&f, 13, 12, 5, 'e');
        } else if (i == 1) {    /* torn */
            assert_int_equal(sim_corrupt(sim, 4, SEGMENT_DATA_OFFSET + 3 * BLOCK, 1), 0);
        } else {                /* moved, and not come whole: 13 is there, 14 is not */
            assert_int_equal(sim_corrupt(sim, 4, SEGMENT_DATA_OFFSET + 2 * BLOCK, 1), 0);
            forge_segment(&f, 5, 3, 12, 15, 11);
            forge_record(&f, 12, 11, 5, 'd');
            forge_record(&f, 13, 11, 6, 'd');
        }
        for (uint64_t block = 0; block < 8; block++) {
            int content = forge_block(sim, 0, block);

            assert_int_equal(forge_block(sim, VOLUME_RESCUE, block), content);
            assert_int_equal(told.count, 0);
        }
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 5), i == 0 ? 'e' : 'd');
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 6), i == 2 ? 'd' : 0);
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 7), 0);
        sim_free(sim);
    }
}

/* A record that its writer moved to a new segment, where it is torn: the old one counts. */
static void lower_copy_counts(void **state)
{
    (void)state;
    for (unsigned torn = 0; torn < 3; torn++) {
        struct sim *sim = forge_cut(0, false);
        struct forge f = { .sim = sim };

        (void)snprintf(damage_text, sizeof(damage_text), "copies, %u torn", torn);
        forge_segment(&f, 4, 3, 12, 0, 11);
        forge_record(&f, 12, 11, 5, 'd');
        forge_record(&f, 13, 11, 6, 'd');
        forge_segment(&f, 5, 3, 12, 14, 11);
        forge_record(&f, 12, 11, 5, 'd');
        forge_record(&f, 13, 11, 6, 'd');
        forge_record(&f, 14, 13, UINT64_MAX, 0);
        if (torn > 0) {
            assert_int_equal(sim_corrupt(sim, 5, SEGMENT_DATA_OFFSET + BLOCK, 1), 0);
        }
        if (torn > 1) {
            assert_int_equal(sim_corrupt(sim, 4, SEGMENT_DATA_OFFSET + BLOCK, 1), 0);
        }
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 5), torn > 1 ? -1 : 'd');
        assert_int_equal(forge_block(sim, VOLUME_RESCUE, 6), 'd');
        sim_free(sim);
    }
}

/* ---- A tree of several levels --------------------------------------------------- */

/* Each segment by itself is gone, or has lost its header. */
static void each_segment(void **state)
{
    struct subject *t = subject_wide(3, true);

    (void)state;
    as_ordinary(t);
    for (size_t i = 0; i < t->layout->file_count; i++) {
        for (unsigned how = 0; how < 3 && t->layout->files[i].state == SEGMENT_VALID; how++) {
            uint64_t file = t->layout->files[i].id;
            struct sim *sim = sim_fork(t->vol->sim, 1);

            (void)snprintf(damage_text, sizeof(damage_text), "segment %llu: %s",
                           (unsigned long long)file, how == 0 ? "gone" : how == 1 ?
                           "without header" : "cut to a half");
            if (how == 0) {
                assert_int_equal(sim_unlink(sim, file), 0);
            } else if (how == 1) {
                assert_int_equal(sim_corrupt(sim, file, 20, 1), 0);
                assert_int_equal(sim_corrupt(sim, file, SEGMENT_HEADER_COPY + 20, 1), 0);
            } else {
                assert_int_equal(sim_truncate(sim, file, SIMVOL_SEGMENT_BYTES / 2), 0);
            }
            judge_as(t, sim, 0);
            sim_free(sim);
        }
    }
    outcome_print(t, "each segment of a large tree");
    assert_true(t->right > 1000 && t->lost > 20);
    subject_free(t);
}

/* Each page of the map that the newest checkpoint has is lost by itself: all that is under
 * it comes back from records. */
static void pages_come_back(void **state)
{
    struct subject *t = subject_wide(5, true);
    unsigned rebuilt = 0;

    (void)state;
    for (size_t i = 0; i < t->layout->count; i++) {
        const struct region *g = &t->layout->regions[i];
        struct sim *sim;
        struct hlfs *v;
        struct image im;

        if (g->what != PAGE_HEAD) {
            continue;
        }
        sim = sim_fork(t->vol->sim, 1);
        (void)snprintf(damage_text, sizeof(damage_text), "page at segment %llu, offset %llu",
                       (unsigned long long)g->file, (unsigned long long)g->from);
        assert_int_equal(sim_corrupt(sim, g->file, g->from, 1), 0);
        judge_as(t, sim, g->file);
        v = rescue(sim);
        im = image_read(v);
        for (size_t b = 0; b < t->blocks && was_told("the map page"); b++) {
            assert_int_equal(im.error[b], 0);   /* no segment is missing: all is known */
        }
        rebuilt += was_told("the map page");
        image_done(&im);
        assert_int_equal(volume_close(v), 0);
        sim_free(sim);
    }
    assert_true(rebuilt >= 5);
    subject_free(t);
}

/* Which segments there were is not known any more. */
static void usage_damage(const struct subject *t, struct sim *sim)
{
    for (size_t i = 0; i < t->layout->count; i++) {
        const struct region *g = &t->layout->regions[i];
        uint8_t head[8];

        if (g->what == PAGE_HEAD && sim_peek(sim, g->file, g->from, head, 8) == 8 &&
            head[4] == TREE_USAGE) {
            (void)sim_corrupt(sim, g->file, g->from, 1);
        }
    }
}

/*
 * A page of the map and a segment are lost.  Here each block that is used always had data,
 * so that zeros were a lie; what is not known cannot be read.
 */
static void no_hole_for_an_answer(void **state)
{
    struct subject *t = subject_wide(6, false);
    unsigned unread = 0;
    struct rng r = { 6 };

    (void)state;
    for (size_t i = 0; i < t->layout->count; i++) {
        const struct region *g = &t->layout->regions[i];
        struct sim *sim;
        struct hlfs *v;
        struct image im;

        if (g->what != PAGE_HEAD) {
            continue;
        }
        sim = sim_fork(t->vol->sim, 1);
        (void)sim_corrupt(sim, g->file, g->from, 1);
        (void)sim_unlink(sim, 1 + rng_below(&r, t->layout->newest - 1));
        if (rng_one_in(&r, 2)) {
            usage_damage(t, sim);
        }
        (void)snprintf(damage_text, sizeof(damage_text), "page at segment %llu, offset %llu",
                       (unsigned long long)g->file, (unsigned long long)g->from);
        judge_as(t, sim, 0);
        v = rescue(sim);
        im = image_read(v);
        for (size_t k = 0; k < WIDE_USED; k++) {
            size_t b = wide_block(k);

            assert_true(im.error[b] < 0 ||
                        !content_is(t, b, im.content + b * BLOCK, t->pool));
        }
        unread += was_told("which no record shows cannot be read");
        image_done(&im);
        assert_int_equal(volume_close(v), 0);
        sim_free(sim);
    }
    assert_true(unread > 5);
    subject_free(t);
}

/* ---- Several damages at once ------------------------------------------------------ */

static void damage_at_random(const struct subject *t, struct sim *sim, struct rng *r)
{
    const struct region *g = &t->layout->regions[rng_below(r, t->layout->count)];
    uint64_t file = g->file;
    int64_t len = sim_file_len(sim, file);

    if (len <= 0) {
        return;
    }
    switch (rng_below(r, 10)) {
    case 0:
        (void)sim_truncate(sim, file, rng_below(r, (uint64_t)len));
        break;
    case 1:
        (void)sim_unlink(sim, file);
        break;
    case 2:
        (void)sim_copy_file(sim, file, 1 + rng_below(r, t->layout->newest + 2));
        break;
    case 3:
        (void)sim_corrupt(sim, file, rng_below(r, SEGMENT_HEADER_BYTES), 0x10);
        (void)sim_corrupt(sim, file, SEGMENT_HEADER_COPY + rng_below(r, 512), 0x10);
        break;
    default:
        if ((int64_t)g->to <= len) {
            (void)sim_corrupt(sim, file, g->from + rng_below(r, g->to - g->from), 0x04);
        }
    }
}

static void at_random(struct subject *t, unsigned rounds, uint64_t seed)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct sim *sim = sim_fork(t->vol->sim, i);
        struct rng r = { seed * 1000003 + i };
        unsigned n = 1 + (unsigned)rng_below(&r, 5);

        (void)snprintf(damage_text, sizeof(damage_text), "%u damages of seed %llu, round %u",
                       n, (unsigned long long)seed, i);
        while (n-- > 0) {
            damage_at_random(t, sim, &r);
        }
        if (epochs_left(t, sim)) {
            judge_as(t, sim, 0);
        }
        sim_free(sim);
    }
}

static void damages_at_random(void **state)
{
    const unsigned volumes = MAX(test_seeds(20) / 20, 1u), rounds = 60;

    (void)state;
    for (unsigned i = 0; i < volumes * SIMVOL_ENDS; i++) {
        struct subject *t = subject_of(i % SIMVOL_ENDS, 40 + i);

        at_random(t, rounds, i);
        subject_free(t);
    }
    for (unsigned i = 0; i < volumes * 2; i++) {
        struct subject *t = subject_wide(10 + i, i % 2 == 0);

        at_random(t, rounds, i);
        outcome_print(t, "damages at random to a large tree");
        subject_free(t);
    }
}

/* ---- Identity, size ---------------------------------------------------------------- */

/* A disk with the segments of SIM, and the LEN bytes of ID as identity (0: none). */
static struct sim *with_identity(const struct sim *sim, const void *id, size_t len)
{
    struct sim *to = sim_new(1);
    struct store *s;

    for (uint64_t file = 1; file < FILES_MAX; file++) {
        int64_t n = sim_file_len(sim, file);
        uint8_t *bytes = n >= 0 ? calloc(1, (size_t)n + 1) : NULL;

        if (bytes) {
            assert_int_equal(sim_peek(sim, file, 0, bytes, (size_t)n), n);
            sim_poke(to, file, 0, bytes, (size_t)n);
            free(bytes);
        }
    }
    assert_int_equal(sim_store_open(to, 0, &s), 0);
    if (len > 0) {
        assert_int_equal(store_put(s, "volume", id, len), 0);
    }
    store_free(s);
    return to;
}

/* SIM, which goes, is T's volume, but for its identity. */
static void identity_judge(struct subject *t, struct sim *sim, const char *words)
{
    struct hlfs *v;
    struct hlfs_info info;

    (void)snprintf(damage_text, sizeof(damage_text), "the identity %s", words);
    v = rescue(sim);
    assert_true(was_told(words));
    assert_int_equal(volume_losses(v), 0);
    assert_int_equal(volume_info(v, &info), 0);
    assert_memory_equal(info.uuid, t->vol->identity.uuid, sizeof(info.uuid));
    assert_int_equal(volume_close(v), 0);
    judge_as(t, sim, 0);
    sim_free(sim);
}

static void identity_lost(void **state)
{
    struct subject *t = subject_of(SIMVOL_CLOSED, 51), *other = subject_of(SIMVOL_MARKED, 52);
    struct hlfs *v = NULL;
    uint8_t id[IDENTITY_BYTES];
    struct sim *sim;

    (void)state;
    identity_judge(t, with_identity(t->vol->sim, NULL, 0), "is missing");
    for (size_t i = 0; i < IDENTITY_BYTES; i += 3) {
        identity_encode(&t->vol->identity, id);
        id[i] ^= 4;
        identity_judge(t, with_identity(t->vol->sim, id, sizeof(id)), "is damaged");
    }
    identity_encode(&t->vol->identity, id);
    identity_judge(t, with_identity(t->vol->sim, id, 100), "is damaged");
    identity_encode(&other->vol->identity, id);
    identity_judge(t, with_identity(t->vol->sim, id, sizeof(id)), "is another volume's");

    /* A segment of another volume is outvoted. */
    sim = with_identity(t->vol->sim, NULL, 0);
    assert_int_equal(sim_truncate(sim, t->layout->newest, 0), 0);
    sim_poke(sim, t->layout->newest, 0, other->layout->files[0].bytes,
             other->layout->files[0].len);
    judge_as(t, sim, 0);
    sim_free(sim);

    /* A feature that is not known is no damage. */
    t->vol->identity.features_incompat = 1;
    identity_encode(&t->vol->identity, id);
    t->vol->identity.features_incompat = 0;
    sim = with_identity(t->vol->sim, id, sizeof(id));
    assert_int_equal(open_as(sim, VOLUME_RESCUE, &v), -ENOTSUP);
    sim_free(sim);

    sim = sim_new(1);
    assert_int_equal(open_as(sim, VOLUME_RESCUE, &v), -ENOENT);
    sim_free(sim);
    subject_free(t);
    subject_free(other);
}

/* Written and closed, so that the map is in pages, or killed before. */
static void block_size_found(uint32_t block_bytes, bool close, bool data)
{
    struct hlfs_options *o = hlfs_options_new();
    struct sim *sim = sim_new(block_bytes), *bare;
    static uint8_t bytes[KIB(256)], found[KIB(256)];
    struct rng r = { block_bytes };
    struct hlfs *v = NULL;
    struct store *s;

    o->block_bytes = block_bytes;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(data ? rng_next(&r) : 0);
    }
    assert_int_equal(sim_store_open(sim, SIM_OPEN_CREATE, &s), 0);
    assert_int_equal(volume_create(s, MIB(1), VOLUME_MANUAL, o), 0);
    assert_int_equal(sim_store_open(sim, 0, &s), 0);
    assert_int_equal(volume_open(s, VOLUME_MANUAL, o, &v), 0);
    assert_int_equal(simvol_call(v, REQUEST_WRITE, bytes, sizeof(bytes), KIB(512)), 0);
    assert_int_equal(simvol_call(v, REQUEST_FLUSH, NULL, 0, 0), 0);
    if (close) {
        assert_int_equal(volume_close(v), 0);
    } else {
        sim_kill(s);
        volume_abandon(v);
    }
    bare = with_identity(sim, NULL, 0);
    v = rescue(bare);
    assert_int_equal(volume_losses(v), 0);
    assert_int_equal(volume_size(v), MIB(1));
    assert_int_equal(volume_block_bytes(v), data ? block_bytes : 4096);
    assert_int_equal(simvol_call(v, REQUEST_READ, found, sizeof(found), KIB(512)), 0);
    assert_memory_equal(bytes, found, sizeof(bytes));
    assert_int_equal(simvol_call(v, REQUEST_READ, found, sizeof(found), 0), 0);
    assert_int_equal(found[0], 0);
    assert_int_equal(volume_close(v), 0);
    sim_free(bare);
    sim_free(sim);
    hlfs_options_free(o);
}

static void block_size_by_sums(void **state)
{
    (void)state;
    for (uint32_t bytes = BLOCK_BYTES_MIN; bytes <= BLOCK_BYTES_MAX; bytes *= 2) {
        block_size_found(bytes, true, true);
        block_size_found(bytes, false, true);
        block_size_found(bytes, true, false);
    }
}

/* No checkpoint is left, nor the record that made the volume as large as it is. */
static void size_lost(void **state)
{
    struct subject *t = subject_wide(9, true);
    struct sim *sim = sim_fork(t->vol->sim, 1);
    size_t last = 0;
    struct hlfs *v;

    (void)state;
    (void)snprintf(damage_text, sizeof(damage_text), "no checkpoint");
    for (size_t i = 0; i < t->layout->count; i++) {
        const struct region *g = &t->layout->regions[i];

        if (g->what == CHECKPOINT_ENTRY || g->what == FOOTER) {
            assert_int_equal(sim_corrupt(sim, g->file, g->from + 8, 1), 0);
        }
    }
    (void)sim_unlink(sim, 1);
    for (size_t b = 0; b < t->blocks; b++) {
        last = t->writers[b].seq != 0 && !t->writers[b].hole ? b : last;
    }
    judge_as(t, sim, 0);
    v = rescue(sim);
    assert_true(was_told("the size of the volume is not known"));
    assert_true(was_told("no checkpoint can be read"));
    assert_true(volume_size(v) >= (last + 1) * BLOCK && volume_size(v) <= t->bytes);
    assert_int_equal(volume_close(v), 0);
    sim_free(sim);
    subject_free(t);
}

/* ---- Where things are ----------------------------------------------------------------- */

/* Block status tells what reads will give, in few pieces. */
static unsigned status_walk(struct hlfs *v, unsigned *count)
{
    static uint8_t buf[BLOCK];
    uint64_t size = volume_size(v), len;
    unsigned calls = 0;

    for (uint64_t at = 0; at < size; at += len, calls++) {
        enum hlfs_status status = 0;
        const struct request_args a = {
            .kind = REQUEST_STATUS, .offset = at, .len = size - at, .ret_status = &status,
            .ret_len = &len,
        };

        if (volume_call(v, &a) != 0) {
            told_print();
            fail_msg("%s: status at block %llu", damage_text, (unsigned long long)(at / BLOCK));
        }
        assert_true(len > 0 && len <= size - at);
        count[status]++;
        for (uint64_t b = at; b < at + len; b += BLOCK) {
            int res = simvol_call(v, REQUEST_READ, buf, MIN(BLOCK, at + len - b), b);

            assert_true(status != HLFS_STATUS_LOST || res == -EBADMSG);
            assert_true(status != HLFS_STATUS_HOLE || res == 0);
            for (size_t i = 0; status == HLFS_STATUS_HOLE && i < BLOCK; i++) {
                assert_int_equal(buf[i], 0);
            }
        }
    }
    return calls;
}

static void block_status(void **state)
{
    struct subject *t = subject_wide(13, true);
    unsigned lost = 0, holes = 0;

    (void)state;
    for (size_t i = 0; i < t->layout->count; i++) {
        const struct region *g = &t->layout->regions[i];

        for (unsigned missing = 0; g->what == PAGE_HEAD && missing < 2; missing++) {
            struct sim *sim = sim_fork(t->vol->sim, 1);
            unsigned count[4] = { 0 };
            struct hlfs *v;

            (void)snprintf(damage_text, sizeof(damage_text), "page at segment %llu, %llu",
                           (unsigned long long)g->file, (unsigned long long)g->from);
            assert_int_equal(sim_corrupt(sim, g->file, g->from, 1), 0);
            if (missing) {      /* of the newest segments the one below the page's */
                (void)sim_unlink(sim, g->file - 1);
            }
            v = rescue(sim);
            assert_true(status_walk(v, count) <= t->blocks);
            lost += count[HLFS_STATUS_LOST];
            holes += count[HLFS_STATUS_HOLE];
            assert_true(missing || count[HLFS_STATUS_LOST] == 0);
            assert_true(count[HLFS_STATUS_LOST] == 0 || volume_losses(v) > 0);
            assert_int_equal(volume_close(v), 0);
            sim_free(sim);
        }
    }
    assert_true(lost > 100 && holes > 100);
    subject_free(t);
}

/* ---- What is no damage ------------------------------------------------------------------ */

/* A read that fails is an error, and neither a loss nor a hole. */
static void read_errors(void **state)
{
    struct subject *t = subject_of(SIMVOL_TAKEN_OVER, 61);
    unsigned failed = 0, opened = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim *sim = sim_fork(t->vol->sim, seed);
        struct hlfs *v = NULL;
        struct image im;
        int res;

        sim_options(sim)->eio_one_in[SIM_PREAD] = seed % 2 ? 10 : 100;
        (void)snprintf(damage_text, sizeof(damage_text), "read errors of seed %llu",
                       (unsigned long long)seed);
        res = open_as(sim, VOLUME_RESCUE, &v);
        assert_true(res == 0 || res == -EIO);
        if (told.count > 0) {
            told_print();
            fail_msg("%s: told as damage", damage_text);
        }
        failed += res < 0;
        if (res == 0) {
            opened++;
            im = image_read(v);
            for (size_t b = 0; b < t->blocks; b++) {
                assert_true(im.error[b] == 0 || im.error[b] == -EIO);
                assert_true(im.error[b] < 0 ||
                            content_is(t, b, im.content + b * BLOCK,
                                       t->past[b].content[t->past[b].count - 1]));
            }
            assert_int_equal(volume_losses(v), 0);
            image_done(&im);
            assert_int_equal(volume_close(v), 0);
        }
        sim_free(sim);
    }
    assert_true(failed > 20 && opened > 20);
    subject_free(t);
}

/* A writer goes on, and removes segments: what went is not damage. */
static void beside_a_writer(void **state)
{
    struct simvol *s = simvol_new(SIMVOL_CLOSED, 71);
    static uint8_t buf[BLOCK];
    struct hlfs *v = NULL, *reader = NULL;
    struct rng r = { 71 };

    (void)state;
    (void)snprintf(damage_text, sizeof(damage_text), "a living writer");
    assert_int_equal(simvol_open(s->sim, 0, &v), 0);
    for (unsigned i = 0; i < 600; i++) {
        uint64_t block = rng_below(&r, SIMVOL_BYTES / BLOCK);

        memset(buf, (int)i, sizeof(buf));
        assert_int_equal(simvol_call(v, REQUEST_WRITE, buf, BLOCK, block * BLOCK), 0);
        if (i % 50 == 49) {
            volume_want_checkpoint(v);
        }
        (void)volume_turn(v, 0);
        if (i % 10 == 9) {
            struct image im;

            reader = rescue(s->sim);
            for (unsigned k = 0; k < i % 7; k++) {
                (void)volume_turn(v, 1000);
            }
            im = image_read(reader);
            for (size_t b = 0; b < im.blocks; b++) {
                assert_true(im.error[b] == 0 || im.error[b] == -ESTALE);
            }
            assert_int_equal(volume_losses(reader), 0);
            image_done(&im);
            assert_int_equal(volume_close(reader), 0);
        }
    }
    assert_int_equal(volume_close(v), 0);
    simvol_free(s);
}

/* ---- Public calls, local store ------------------------------------------------------------ */

/* The identity and a segment go; what was in another segment is there. */
static void public_calls(void **state)
{
    const char *vol = localvol_path;
    char path[PATH_MAX];
    struct hlfs_options *o = hlfs_options_new();
    static uint8_t a[MIB(3)], b[MIB(3)];
    unsigned failed = 0;
    struct hlfs *v = NULL;

    (void)state;
    localvol_init();
    assert_int_equal(hlfs_options_set(o, "segment-size", "4M"), 0);
    assert_int_equal(hlfs_create(vol, MIB(16), o), 0);
    for (size_t i = 0; i < sizeof(a); i++) {
        a[i] = (uint8_t)(i / 4096 + i + 1);
    }
    assert_int_equal(hlfs_open(vol, NULL, 0, o, &v), 0);
    assert_int_equal(hlfs_pwrite(v, a, sizeof(a), 0, 0), 0);
    assert_int_equal(hlfs_pwrite(v, a, sizeof(a), MIB(8), 0), 0);
    assert_int_equal(hlfs_close(v), 0);
    (void)snprintf(path, sizeof(path), "%s/volume", vol);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(hlfs_open(vol, NULL, HLFS_RESCUE, o, &v), -EINVAL);
    assert_int_equal(hlfs_open(vol, NULL, HLFS_RDONLY, o, &v), -ENOENT);
    hlfs_options_set_log(o, hear, NULL);
    memset(&told, 0, sizeof(told));
    assert_int_equal(hlfs_open(vol, NULL, HLFS_RDONLY | HLFS_RESCUE, o, &v), 0);
    assert_true(told.count == 2 && was_told("is missing") && was_told("block size"));
    assert_true(hlfs_is_read_only(v) && hlfs_size(v) == MIB(16));
    assert_int_equal(hlfs_pread(v, b, sizeof(b), MIB(8)), 0);
    assert_memory_equal(a, b, sizeof(a));
    assert_int_equal(hlfs_pwrite(v, a, 4096, 0, 0), -EROFS);
    assert_int_equal(hlfs_rescue_losses(v), 0);
    assert_int_equal(hlfs_close(v), 0);

    (void)snprintf(path, sizeof(path), "%s/log/000000/000000003", vol);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(hlfs_open(vol, NULL, HLFS_RDONLY | HLFS_RESCUE, o, &v), 0);
    assert_true(was_told("segment 3 is missing: "));
    assert_true(hlfs_rescue_losses(v) > 0);
    for (uint64_t at = 0; at < MIB(16); at += 4096) {
        uint64_t in = at % MIB(8);
        int res = hlfs_pread(v, b, 4096, at);

        assert_true(res == -EBADMSG || (res == 0 && (in < sizeof(a) ?
                    memcmp(a + in, b, 4096) == 0 : b[0] == 0 && b[4095] == 0)));
        failed += res < 0;
    }
    assert_true(failed > 0 && failed < 2 * sizeof(a) / 4096);
    assert_int_equal(hlfs_close(v), 0);
    hlfs_options_free(o);
    localvol_done();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undamaged_is_as_ordinary),
        cmocka_unit_test(closed),
        cmocka_unit_test(killed_when_idle),
        cmocka_unit_test(killed_after_a_flush),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(taken_over),
        cmocka_unit_test(cut_lost),
        cmocka_unit_test(tails_end),
        cmocka_unit_test(lower_copy_counts),
        cmocka_unit_test(each_segment),
        cmocka_unit_test(pages_come_back),
        cmocka_unit_test(no_hole_for_an_answer),
        cmocka_unit_test(damages_at_random),
        cmocka_unit_test(identity_lost),
        cmocka_unit_test(block_size_by_sums),
        cmocka_unit_test(size_lost),
        cmocka_unit_test(block_status),
        cmocka_unit_test(read_errors),
        cmocka_unit_test(beside_a_writer),
        cmocka_unit_test(public_calls),
    };

    /* Disks are copied all the time: keep their memory. */
    (void)mallopt(M_MMAP_THRESHOLD, INT_MAX);
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
    (void)signal(SIGALRM, on_signal);
    (void)signal(SIGABRT, on_signal);
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
