/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * format.h - every stored struct of a segment, and how it is checked (docs/format.md).
 *
 * Pure functions between bytes and plain structs: no I/O, no state, any thread.  What
 * comes from a store is decoded by these functions only; they trust nothing and give
 * -EBADMSG for what is not right, -ENOTSUP for what a newer version wrote.
 */
#ifndef HLFS_LOG_FORMAT_H
#define HLFS_LOG_FORMAT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "log/place.h"

#define FORMAT_VERSION 0
#define UUID_BYTES 16
#define SALT_BYTES 16

/* Feature bits this version knows, in qcow2's three classes. */
#define FEATURES_INCOMPAT_KNOWN 0u  /* an unknown bit: refuse to open */
#define FEATURES_RO_KNOWN 0u        /* an unknown bit: refuse to open for writing */

#define BLOCK_BYTES_MIN 4096u
#define BLOCK_BYTES_MAX 65536u
#define SEGMENT_BYTES_MIN MIB(4)
#define SEGMENT_BYTES_MAX GIB(1)
#define VOLUME_BYTES_MAX ((uint64_t)1 << 48)
#define SEQ_MAX ((uint64_t)1 << 62)         /* no log ever has so many records */

/* ---- Identity: the file "volume" ------------------------------------------ */

struct identity {
    uint32_t version;
    uint32_t features_incompat;
    uint32_t features_ro;
    uint8_t uuid[UUID_BYTES];
    uint32_t block_bytes;
    uint64_t segment_bytes;     /* an explicit choice, or 0: by the volume's size */
    uint64_t created_us;        /* wall time */
};

struct identity_disk {
    uint8_t magic[8];           /* 00-07  "HLFSVOL" and a zero byte */
    le32_t  crc;                /* 08-11  CRC-32C of bytes 12-511 */
    le32_t  version;            /* 12-15  FORMAT_VERSION */
    le32_t  features_incompat;  /* 16-19 */
    le32_t  features_ro;        /* 20-23 */
    le32_t  features_compat;    /* 24-27  an unknown bit: ignore */
    le32_t  block_bytes;        /* 28-31 */
    uint8_t uuid[UUID_BYTES];   /* 32-47 */
    le64_t  segment_bytes;      /* 48-55 */
    le64_t  created_us;         /* 56-63 */
    uint8_t zero[448];          /* 64-511 */
};
#define IDENTITY_BYTES 512
static_assert(sizeof(struct identity_disk) == IDENTITY_BYTES, "format.md 3");

void identity_encode(const struct identity *id, void *buf);
/* -EBADMSG: not an identity, or damaged; -ENOTSUP: another version or feature, and of
 * RET the version and, if that is ours, features_incompat are set. */
int identity_decode(const void *buf, size_t len, struct identity *ret);

/* ---- Segment header ------------------------------------------------------- */

/* Where a record or footer is, for those who look it up without scanning. */
struct record_ref {
    uint64_t file;              /* 0: there is none */
    uint64_t offset;            /* bytes */
    uint64_t seq;               /* footer: the last seq in it */
    uint32_t bytes;
};

struct segment_header {
    uint8_t uuid[UUID_BYTES];
    uint8_t salt[SALT_BYTES];       /* random, drawn when the segment is begun */
    uint64_t file;
    uint64_t epoch;
    uint64_t size;                  /* the segment's size limit, bytes */
    uint64_t first;                 /* lowest seq in it */
    uint64_t cut;                   /* lower segments: seq >= cut is void; 0: no cut */
    uint64_t synced;                /* highest seq known synced when it was built */
    struct record_ref checkpoint;   /* the newest synced one */
    struct record_ref footer;       /* of the segment sealed before this one */
    uint64_t created_us;
    uint64_t since_us;              /* when the holder opened the volume */
    uint64_t unfinished_us;         /* its content is being replaced since; 0: is whole */
    uint32_t pid;
    uint32_t features_ro;           /* an unknown bit: the volume is only to be read */
    char host[64];                  /* NUL-terminated */
    char durability[16];            /* the flush level, NUL-terminated */
};

struct record_ref_disk {
    le64_t file, offset, seq;
    le32_t bytes;
    le32_t zero;
};

struct segment_header_disk {
    uint8_t magic[8];               /* 000-007  "HLFSSEG" and a zero byte */
    le32_t  crc;                    /* 008-011  CRC-32C of bytes 12-511 */
    le32_t  version;                /* 012-015 */
    le32_t  features_incompat;      /* 016-019 */
    le32_t  features_ro;            /* 020-023 */
    le32_t  features_compat;        /* 024-027 */
    le32_t  pid;                    /* 028-031 */
    uint8_t uuid[UUID_BYTES];       /* 032-047 */
    uint8_t salt[SALT_BYTES];       /* 048-063 */
    le64_t  file;                   /* 064-071 */
    le64_t  epoch;                  /* 072-079 */
    le64_t  size;                   /* 080-087 */
    le64_t  first;                  /* 088-095 */
    le64_t  cut;                    /* 096-103 */
    le64_t  synced;                 /* 104-111 */
    struct record_ref_disk checkpoint;  /* 112-143 */
    struct record_ref_disk footer;  /* 144-175 */
    le64_t  created_us;             /* 176-183 */
    le64_t  since_us;               /* 184-191 */
    char    host[64];               /* 192-255 */
    char    durability[16];         /* 256-271 */
    le64_t  unfinished_us;          /* 272-279 */
    uint8_t zero[232];              /* 280-511 */
};
static_assert(sizeof(struct segment_header_disk) == 512, "format.md 4.1");

#define SEGMENT_HEADER_BYTES 512u
#define SEGMENT_HEADER_COPY 4096u       /* the second copy begins here */
#define SEGMENT_DATA_OFFSET 8192u       /* the first record begins here */

/* Fills SEGMENT_DATA_OFFSET bytes: both copies. */
void segment_header_encode(const struct segment_header *h, void *buf);

enum segment_state {
    SEGMENT_VALID,
    SEGMENT_VOID,       /* no header yet, or the one of the file's former life */
    SEGMENT_DAMAGED,    /* a header that no crash can leave behind */
};

/*
 * Look at the first LEN bytes (up to SEGMENT_DATA_OFFSET) of FILE of volume UUID.  A
 * header is one sector, so a crash leaves each copy old or new: a copy whose sum is
 * wrong and that is not all zeros is damage.  *RET is set when VALID.  *RET_ERROR
 * (with VALID) is -ENOTSUP for a version or feature that this library lacks.
 */
enum segment_state segment_header_decode(const void *buf, size_t len, uint64_t file,
                                         const uint8_t *uuid, struct segment_header *ret,
                                         int *ret_error);

/* The seed of all sums in a segment: over salt, uuid and file id. */
uint32_t segment_seed(const struct segment_header *h);

/* ---- Records -------------------------------------------------------------- */

/*
 *   +--------+---------------------+---------+------------------------+
 *   | header | entries             | zeros   | payload                |
 *   +--------+---------------------+---------+------------------------+
 *   0        64            64 + entry_bytes  head_bytes     + payload_bytes
 */
struct record_header {
    uint64_t seq;
    uint64_t epoch;
    uint64_t synced;
    uint64_t time_us;
    uint32_t entry_bytes;
    uint32_t entry_count;
    uint32_t head_bytes;        /* a multiple of 512 */
    uint32_t payload_bytes;     /* a multiple of 512 */
};

struct record_header_disk {
    le32_t  magic;              /* 00-03  "HREC" */
    le32_t  crc;                /* 04-07  of bytes 8 to 63 + entry_bytes, seeded */
    le64_t  seq;                /* 08-15 */
    le64_t  epoch;              /* 16-23 */
    le64_t  synced;             /* 24-31 */
    le64_t  time_us;            /* 32-39 */
    le32_t  entry_bytes;        /* 40-43 */
    le32_t  entry_count;        /* 44-47 */
    le32_t  head_bytes;         /* 48-51 */
    le32_t  payload_bytes;      /* 52-55 */
    uint8_t zero[8];            /* 56-63 */
};
#define RECORD_HEADER_BYTES 64u
static_assert(sizeof(struct record_header_disk) == RECORD_HEADER_BYTES, "format.md 4.2");

#define RECORD_MAGIC 0x43455248u            /* "HREC" */
#define RECORD_HEAD_MAX 65536u
#define RECORD_PAYLOAD_MAX (4u << 20)

/* Of the paged trees whose pages stand in records; docs/format.md 6. */
#define PAGE_BYTES 4096u
#define TREE_LEVELS_MAX 8       /* 160^8 > 2^36 blocks; a deeper page is damage */

/* Finish the record in BUF: the entries are in place behind the header. */
void record_encode(void *buf, const struct record_header *h, uint32_t seed,
                   uint64_t offset);

/*
 * Decode the header of a record at OFFSET of a segment with SEED and EPOCH, LEN bytes
 * of which are in BUF.  -EBADMSG: there is no valid record here.  -EAGAIN: more
 * bytes are needed: *RET_NEED.  Entries are inside the sum, and are inside BUF.
 */
int record_decode(const void *buf, size_t len, uint32_t seed, uint64_t epoch,
                  uint64_t offset, struct record_header *ret, size_t *ret_need);

static inline uint64_t record_bytes(const struct record_header *h)
{
    return (uint64_t)h->head_bytes + h->payload_bytes;
}

/* ---- Entries -------------------------------------------------------------- */

enum entry_type {
    ENTRY_DATA = 1,         /* COUNT blocks from BLOCK on, in the payload */
    ENTRY_HOLE = 2,         /* COUNT blocks from BLOCK on read as zeros */
    ENTRY_RESIZE = 3,       /* the volume's size in bytes */
    ENTRY_PAGE = 4,         /* a tree page, in the payload */
    ENTRY_CHECKPOINT = 5,
    ENTRY_MARK = 6,         /* nothing: the header's `synced` is what counts */
    ENTRY_MOVE = 7,         /* a cleaner moved a block: docs/format.md 4.3 */
    ENTRY_MARKER = 8,       /* a snapshot operation: docs/format.md 4.3 */
    ENTRY_VOID = 9,         /* was a checkpoint; its record moved before it was synced */
};

/* What a reader does with a type it does not know: bits 6-7 of the type's byte. */
#define ENTRY_UNKNOWN_INCOMPAT 0x80u    /* refuse the volume */
#define ENTRY_UNKNOWN_RO 0x40u          /* read only */

struct entry_head_disk {
    uint8_t type;           /* 0    */
    uint8_t flags;          /* 1    HOLE: 1 discarded, 0 zeroed */
    le16_t  bytes;          /* 2-3  of the whole entry, a multiple of 4 */
    le32_t  sector;         /* 4-7  DATA, PAGE, CHECKPOINT: in the payload, 512 bytes */
};

struct entry_data_disk {
    struct entry_head_disk head;
    le64_t run;             /* 8-15  block (40 bits), count - 1 (24 bits) */
    le32_t crc[];           /* 16-   CRC-32C of each block */
};

struct entry_hole_disk {
    struct entry_head_disk head;
    le64_t block;           /* 8-15 */
    le64_t count;           /* 16-23 */
};

struct entry_resize_disk {
    struct entry_head_disk head;
    le64_t size;            /* 8-15 */
};

struct entry_page_disk {
    struct entry_head_disk head;
    le32_t crc;             /* 8-11 */
    uint8_t tree;           /* 12   enum tree_id */
    uint8_t level;          /* 13 */
    uint8_t zero[2];        /* 14-15 */
};

struct root_disk {
    le64_t w0, w1;          /* place of the root page */
    le32_t levels;
    le32_t zero;
};

#define CHECKPOINT_ROOTS 6  /* by enum tree_id - 1 */

struct entry_checkpoint_disk {
    struct entry_head_disk head;
    le64_t replay_seq;      /* 8-15   the first record that it does not contain */
    le64_t replay_file;     /* 16-23  no lower segment has such a record */
    le64_t size;            /* 24-31  the volume's, bytes */
    le64_t live_bytes;      /* 32-39  over all segments */
    le64_t moved_next;      /* 40-47  number of the next cleaner segment */
    le32_t override_count;  /* 48-51  usage overrides in the payload, 16 bytes each */
    le32_t override_crc;    /* 52-55 */
    struct root_disk roots[CHECKPOINT_ROOTS];   /* 56-199 */
    le64_t tree_pages;      /* 200-207 of the map and usage trees together */
    uint8_t zero[48];       /* 208-255 */
};
static_assert(sizeof(struct entry_checkpoint_disk) == 256, "format.md 4.3");

/* A file's live bytes where the usage tree is behind: key and value. */
struct usage_override_disk {
    le64_t file;
    le64_t live_bytes;
};

struct root_ref {
    struct place place;
    uint32_t levels;
};

struct checkpoint {
    uint64_t replay_seq;
    uint64_t replay_file;
    uint64_t size;
    uint64_t live_bytes;
    uint64_t moved_next;
    uint32_t override_count;
    uint32_t override_crc;
    uint64_t tree_pages;
    uint64_t time_us;           /* of its record; not in the entry */
    struct root_ref roots[CHECKPOINT_ROOTS];
};

/* One entry, decoded; pointers lead into the record's buffer. */
struct entry {
    uint8_t type;
    uint8_t flags;
    uint32_t payload_offset;    /* bytes, DATA, PAGE, CHECKPOINT */
    uint64_t block;             /* DATA, HOLE */
    uint64_t count;             /* DATA, HOLE */
    const le32_t *crc;          /* DATA: one for each block; PAGE: one */
    uint64_t size;              /* RESIZE */
    uint8_t tree, level;        /* PAGE */
    const struct entry_checkpoint_disk *checkpoint;
};

#define ENTRY_DATA_BYTES(count) (sizeof(struct entry_data_disk) + 4 * (size_t)(count))

size_t entry_put_data(void *buf, uint64_t block, uint32_t count, uint32_t payload_offset);
size_t entry_put_hole(void *buf, uint64_t block, uint64_t count, bool discard);
size_t entry_put_resize(void *buf, uint64_t size);
size_t entry_put_page(void *buf, uint32_t payload_offset, uint32_t crc, uint8_t tree,
                      uint8_t level);
size_t entry_put_checkpoint(void *buf, const struct checkpoint *c,
                            uint32_t payload_offset);
size_t entry_put_mark(void *buf);

/*
 * The entry at *POS of the LEN bytes of entries at BUF; moves *POS behind it.  1: an
 * entry; 0: the end; -EBADMSG; -ENOTSUP: a type that must not be passed over.
 * PAYLOAD_BYTES and BLOCK_BYTES bound what entries point at.  With READ_ONLY types of
 * the class "read only" are passed over.
 */
int entry_next(const void *buf, size_t len, size_t *pos, uint32_t payload_bytes,
               uint32_t block_bytes, bool read_only, struct entry *ret);

/* -EBADMSG where a root is impossible. */
int checkpoint_decode(const struct entry *e, struct checkpoint *ret);

/* ---- Footer --------------------------------------------------------------- */

/*
 * Of a sealed segment: header, then for each record its offset (le64), the length of
 * what follows (le32), zero (le32), and its header and entries as they stand in it,
 * padded to 8 bytes.
 */
struct footer_disk {
    le32_t  magic;          /* 00-03  "HFTR" */
    le32_t  crc;            /* 04-07  of bytes 8 to the end, seeded like a record */
    le64_t  first;          /* 08-15  seq of the first record in it */
    le64_t  last;           /* 16-23  and of the last */
    le32_t  records;        /* 24-27 */
    le32_t  bytes;          /* 28-31  of the footer, this struct included */
};
#define FOOTER_HEADER_BYTES 32u
static_assert(sizeof(struct footer_disk) == FOOTER_HEADER_BYTES, "format.md 4.4");
#define FOOTER_MAGIC 0x52544648u            /* "HFTR" */

struct footer_item_disk {
    le64_t offset;
    le32_t bytes;
    le32_t zero;
};

/* Fill in the header of a footer whose items are in place. */
void footer_encode(void *buf, uint32_t bytes, uint64_t first, uint64_t last,
                   uint32_t records, uint32_t seed, uint64_t offset);
/* Check the whole footer.  0 or -EBADMSG. */
int footer_decode(const void *buf, size_t len, uint32_t seed, uint64_t offset,
                  struct footer_disk *ret);
/* The item at *POS (start with FOOTER_HEADER_BYTES): 1, 0 at the end, -EBADMSG. */
int footer_next(const void *buf, size_t len, size_t *pos, uint64_t *ret_offset,
                const void **ret_record, size_t *ret_len);

#ifdef HLFS_PLANT_BUGS
/* Bugs that the crash tests must find (docs/hacking.md). */
enum format_bug {
    FORMAT_BUG_EPOCH_IGNORED = 1,   /* a record of another epoch is taken */
    FORMAT_BUG_SALT_IGNORED = 2,    /* sums are not seeded: stale records fit */
};
extern unsigned format_bugs;
#endif

#endif
