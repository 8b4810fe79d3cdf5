/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hlfs.h - libhlfs: virtual disks kept as a log of append-only files.
 *
 * A *volume* is a block device of a fixed size: random reads and writes at any byte
 * offset.  It is kept on a *store*: a directory of this machine, or of an HDFS.
 *
 * In short:
 *
 *     struct hlfs *v;
 *     if (hlfs_open("local:///srv/vm7", NULL, 0, NULL, &v) < 0) {
 *         die(hlfs_error());
 *     }
 *     hlfs_pwrite(v, buf, 4096, 0, HLFS_FUA);
 *     hlfs_close(v);
 *
 * What holds (docs/design.md 1): writes are ordered; after any crash the content is
 * the state after a prefix of that order with everything that was acknowledged
 * before the last completed flush was submitted; a request up to 1 MiB is atomic;
 * every byte read was checked against its CRC-32C.
 *
 * Errors: a function returns a negative errno on failure.  hlfs_error() then has one
 * sentence about it where the page of the function says so (open, create, remove,
 * list, check and the like); data calls return the code only.
 *
 * Threads: any thread may use a volume at any time; a *queue* belongs to one thread
 * at a time.  The library has no global state to initialise, installs no signal
 * handler, never forks, execs, exits or writes to stdout or stderr; its threads
 * start with hlfs_open() or later and block all signals.  After fork() every call on a volume
 * opened before gives -ECHILD in the child; the child may only exit or exec.
 */
#ifndef HLFS_H
#define HLFS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HLFS_PUBLIC __attribute__((visibility("default")))
#else
#define HLFS_PUBLIC
#endif

struct hlfs;            /* an open volume */
struct hlfs_queue;      /* a queue of requests to a volume */
struct hlfs_options;    /* options of open and create, by name */

/* ---- Version and errors --------------------------------------------------- */

/* "0.1.0"; of the library that runs, not of the header. */
HLFS_PUBLIC const char *hlfs_version(void);

/*
 * One sentence about this thread's last failed call: what, where, why and what to
 * do.  Never NULL; valid until the thread's next call into the library.
 */
HLFS_PUBLIC const char *hlfs_error(void);

/* ---- Options -------------------------------------------------------------- */

enum hlfs_log_level { HLFS_LOG_ERROR, HLFS_LOG_WARNING, HLFS_LOG_INFO, HLFS_LOG_DEBUG };

/* TEXT is one line without a newline.  Called from any thread, the library's own
 * too; it must return soon and must not call into the library. */
typedef void (*hlfs_log_fn)(void *opaque, int level, const char *text);

/* All options at their defaults; NULL: out of memory. */
HLFS_PUBLIC struct hlfs_options *hlfs_options_new(void);
HLFS_PUBLIC void hlfs_options_free(struct hlfs_options *o);     /* NULL is fine */

/*
 * Set one option from text, as the command line does.  -EINVAL (unknown key, or a
 * value that does not parse) with a sentence.  Sizes take K M G T, times ms s m h d.
 *
 *   open     durability      local | hflush | hsync      the strongest of the store
 *            cache-size      bytes of map pages and layers in memory, 64M
 *            dirty-limit     bytes of data not yet durable, 64M
 *            unreachable     wait=TIME | wait | error    wait=120s
 *            full            error | wait=TIME           error
 *            ack-timeout     time                        2s
 *            min-replicas    number                      min(2, replication)
 *            user            name                        HADOOP_USER_NAME, or the OS user
 *            hadoop-conf     directory                   HADOOP_CONF_DIR, /etc/hadoop/conf
 *            control         yes | no                    no: a socket for hlfs_control()
 *            force           yes | no                    no: take over a living writer
 *            network-fs      yes | no                    no: allow NFS, CIFS, FUSE
 *            cache-shared    yes | no                    no (no effect yet)
 *   create   block-size      4K to 64K, a power of two   4K
 *            segment-size    4M to 1G, multiple of 1M    by the volume's size
 *            compression     none                        none
 *            replication     number                      the cluster's
 *            keep            0 (more in later versions)  0
 *            mode            octal                       0600
 *            clonable-by     for later versions
 */
HLFS_PUBLIC int hlfs_options_set(struct hlfs_options *o, const char *key,
                                 const char *value);

/* Where the messages of background work go; by default nowhere. */
HLFS_PUBLIC void hlfs_options_set_log(struct hlfs_options *o, hlfs_log_fn fn,
                                      void *opaque);

/*
 * The names of all options, in the order above; NULL after the last.
 * *RET_CREATE (may be NULL) says whether it belongs to create.
 */
HLFS_PUBLIC const char *hlfs_options_name(unsigned index, int *ret_create);

/* ---- Locations ------------------------------------------------------------ */

/*
 * Split LOC[@SNAPSHOT], "hlfs:" before it or not: at the last '@' of the last path
 * component.  Both results are malloc'ed; *RET_SNAPSHOT is NULL where there is none.
 * -EINVAL with a sentence: empty, unknown scheme, no path, …; -ENOMEM.
 */
HLFS_PUBLIC int hlfs_location_split(const char *text, char **ret_location,
                                    char **ret_snapshot);

/* ---- Volumes -------------------------------------------------------------- */

#define HLFS_SIZE_MAX ((uint64_t)1 << 48)       /* 256 TiB */

/*
 * Make a volume of SIZE bytes (a multiple of 512, 0 allowed) at LOCATION, all zeros;
 * OPTIONS may be NULL.  Sentence.  -EEXIST, -EINVAL, -ENOSPC, -EACCES, …
 */
HLFS_PUBLIC int hlfs_create(const char *location, uint64_t size,
                            const struct hlfs_options *options);

/*
 * The same, but from its first moment on the content is *unfinished*: see
 * HLFS_UNFINISHED, with which it is to be opened and written.
 */
HLFS_PUBLIC int hlfs_create_unfinished(const char *location, uint64_t size,
                                       const struct hlfs_options *options);

#define HLFS_RDONLY (1u << 0)   /* hlfs_open: write nothing, hold nothing */
/* hlfs_open, alone: only see whether options, permissions and the store allow to open
 * it for writing.  Writes nothing, and does not ask whether somebody holds it; 0 leaves
 * *RET NULL. */
#define HLFS_TRY (1u << 1)
/*
 * With HLFS_RDONLY: what remains of a damaged volume.  Segments and other parts may be
 * missing or damaged, the file `volume` too.  Blocks whose bytes are lost, or of which it
 * is not known what was in them, give -EBADMSG; all others read as ever.  What cannot be
 * used, and what follows from it, is told to the log callback as a warning, a sentence
 * each (options: hlfs_options_set_log), hlfs_rescue_losses() counts what of it concerns
 * content.  A read error of the store is an error, and no damage.  Beside a living writer
 * it works as any open for reading, but finding damage then may end with -ESTALE.
 */
#define HLFS_RESCUE (1u << 2)
/*
 * hlfs_open, for who replaces the whole content, as an import does.  Before the call
 * returns it is durable that the content is unfinished, and it stays so, whatever happens,
 * until hlfs_finish().  Nobody opens such a volume by mistake: without this flag that
 * gives -EINPROGRESS.  With HLFS_RDONLY it changes nothing, and opens an unfinished volume
 * too.
 */
#define HLFS_UNFINISHED (1u << 3)

/*
 * Open the volume at LOCATION; SNAPSHOT is a name or an instant, or NULL for the
 * head.  OPTIONS may be NULL and is copied.  Sentence.  On success *RET is the
 * volume, to be closed.
 *   -EBUSY     another writer holds it (the sentence says who, since when)
 *   -ENOENT    no such volume, or snapshot
 *   -EBADMSG   damaged: what was durable is not all there any more
 *   -ENOTSUP   another format version, or a feature this library lacks
 *   -EINPROGRESS  its content is unfinished (HLFS_UNFINISHED)
 * Who only reads sees the volume as of the open.  When a writer has removed what that
 * was made of, reads of it give -ESTALE: open it again.
 */
HLFS_PUBLIC int hlfs_open(const char *location, const char *snapshot, unsigned flags,
                          const struct hlfs_options *options, struct hlfs **ret);

/*
 * The content of V, opened with HLFS_UNFINISHED, is whole: everything acknowledged before
 * this call is durable, and then that, when it returns 0.  Sentence.
 */
HLFS_PUBLIC int hlfs_finish(struct hlfs *v);

/*
 * Make everything durable, answer what is not finished with -ECANCELED, and free V.
 * All queues have been freed.  Returns the result of that flush (sentence); V is
 * gone in any case.  NULL is fine.
 */
HLFS_PUBLIC int hlfs_close(struct hlfs *v);

/*
 * Remove the volume at LOCATION with everything in it.  Sentence.  -EBUSY: a writer
 * lives.  With the option force a half-made or unreadable one goes too.
 */
HLFS_PUBLIC int hlfs_remove(const char *location, const struct hlfs_options *options);

/*
 * The volume at LOCATION is at NEW_LOCATION from now on, durably: in the same file system
 * of this machine, or the same HDFS.  Sentence.  -EBUSY: a writer lives; -EEXIST: something
 * is at NEW_LOCATION; -EXDEV: that is another file system.
 */
HLFS_PUBLIC int hlfs_rename(const char *location, const char *new_location,
                            const struct hlfs_options *options);

/*
 * Change a property of the volume at LOCATION, which nobody holds (-EBUSY; its holder may
 * be asked by hlfs_control()).  Sentence.  -EINVAL: unknown KEY or VALUE; -ENOTSUP: a key
 * for later versions, or one that this store lacks.
 *     replication   copies that HDFS keeps of what is there and of what comes
 */
HLFS_PUBLIC int hlfs_set(const char *location, const char *key, const char *value,
                         const struct hlfs_options *options);

/*
 * Call FN for each volume in directory DIR, by name; a negative return value of FN
 * ends it and is returned.  Sentence.
 */
HLFS_PUBLIC int hlfs_list(const char *dir, const struct hlfs_options *options,
                          int (*fn)(void *opaque, const char *name), void *opaque);

HLFS_PUBLIC uint64_t hlfs_size(struct hlfs *v);             /* bytes */
HLFS_PUBLIC uint32_t hlfs_block_size(struct hlfs *v);       /* bytes */
HLFS_PUBLIC int hlfs_is_read_only(struct hlfs *v);

/* With HLFS_RESCUE: how many losses of content were told, and found by reads, so far; 0:
 * what was read is all there, and right. */
HLFS_PUBLIC uint64_t hlfs_rescue_losses(struct hlfs *v);

/* ---- Synchronous calls ---------------------------------------------------- */

/*
 * The range [OFFSET, OFFSET + LEN) lies inside the volume; any byte offset works,
 * whole blocks are cheapest.  They return 0 or:
 *   -EINVAL   bad range or flags         -EROFS    read-only
 *   -ENOSPC   no room in the store       -ESTALE   another writer took over
 *   -EBADMSG  stored bytes are damaged   -EIO      the store failed
 *   -ENOMEM   this request only          -ETIMEDOUT  the store stayed away
 */
#define HLFS_FUA (1u << 0)      /* write, zero, discard: durable when answered */
#define HLFS_NO_UNMAP (1u << 1) /* zero: keep the room (on HLFS: as without) */

HLFS_PUBLIC int hlfs_pread(struct hlfs *v, void *buf, size_t len, uint64_t offset);
HLFS_PUBLIC int hlfs_pwrite(struct hlfs *v, const void *buf, size_t len,
                            uint64_t offset, unsigned flags);

/* Everything acknowledged before this call is durable when it returns 0. */
HLFS_PUBLIC int hlfs_flush(struct hlfs *v);

/* The range reads as zeros afterwards, whole blocks and parts of blocks alike. */
HLFS_PUBLIC int hlfs_zero(struct hlfs *v, uint64_t len, uint64_t offset,
                          unsigned flags);
HLFS_PUBLIC int hlfs_discard(struct hlfs *v, uint64_t len, uint64_t offset,
                             unsigned flags);

#define HLFS_SHRINK (1u << 0)   /* resize: what lies behind the new size may be lost */

/*
 * The volume is SIZE bytes large (a multiple of 512, 0 allowed) from now on, and that is
 * durable when it returns 0.  It takes its place in the order of writes.  What is added
 * reads as zeros.  What is cut off is discarded first: a crash in the middle may leave
 * the old size with less behind the new one.  While it shrinks, requests beyond the new
 * size are refused, or end, with -EINVAL.
 *   -EINVAL   SIZE is none, or less than now without HLFS_SHRINK
 *   -EBUSY    another resize is under way
 */
HLFS_PUBLIC int hlfs_resize(struct hlfs *v, uint64_t size, unsigned flags);

enum hlfs_status {
    HLFS_STATUS_DATA = 1,
    HLFS_STATUS_HOLE = 2,       /* reads as zeros */
    HLFS_STATUS_LOST = 3,       /* with HLFS_RESCUE only: reads give -EBADMSG */
};

/*
 * How OFFSET is kept and for how many bytes from there on that is so (up to LEN):
 * *RET_STATUS, *RET_LEN.  Data may turn out to be lost when it is read.
 */
HLFS_PUBLIC int hlfs_block_status(struct hlfs *v, uint64_t len, uint64_t offset,
                                  enum hlfs_status *ret_status, uint64_t *ret_len);

/* ---- Queues --------------------------------------------------------------- */

/*
 * A queue of up to DEPTH unfinished requests (1 to 4096).  One thread at a time may
 * use it; make as many as there are threads.
 */
HLFS_PUBLIC int hlfs_queue_new(struct hlfs *v, unsigned depth, struct hlfs_queue **ret);

/* Waits for what is unfinished, drops its completions, frees Q; NULL is fine. */
HLFS_PUBLIC void hlfs_queue_free(struct hlfs_queue *q);

/* Readable (poll, epoll) while completions may be waiting; stays the queue's. */
HLFS_PUBLIC int hlfs_queue_fd(struct hlfs_queue *q);

/*
 * Start a request; BUF stays the caller's until its completion is reaped.  A guest
 * may change it meanwhile: then some mixture is stored, with a right CRC.  TAG comes
 * back with the completion.  Never blocks.
 *
 * Returns 1: done, with success, no completion follows (memory could answer it).
 * 0: a completion follows.  Negative: refused, no completion follows: -EINVAL,
 * -EROFS, -EAGAIN (DEPTH reached: reap first), -ECHILD, -ENOMEM, or an error of
 * the sync call.  The completion's result is as of the sync call.
 */
HLFS_PUBLIC int hlfs_submit_pread(struct hlfs_queue *q, void *buf, size_t len,
                                  uint64_t offset, void *tag);
HLFS_PUBLIC int hlfs_submit_pwrite(struct hlfs_queue *q, const void *buf, size_t len,
                                   uint64_t offset, unsigned flags, void *tag);
HLFS_PUBLIC int hlfs_submit_flush(struct hlfs_queue *q, void *tag);
HLFS_PUBLIC int hlfs_submit_zero(struct hlfs_queue *q, uint64_t len, uint64_t offset,
                                 unsigned flags, void *tag);
HLFS_PUBLIC int hlfs_submit_discard(struct hlfs_queue *q, uint64_t len, uint64_t offset,
                                    unsigned flags, void *tag);
HLFS_PUBLIC int hlfs_submit_resize(struct hlfs_queue *q, uint64_t size, unsigned flags,
                                   void *tag);
HLFS_PUBLIC int hlfs_submit_block_status(struct hlfs_queue *q, uint64_t len,
                                         uint64_t offset, enum hlfs_status *ret_status,
                                         uint64_t *ret_len, void *tag);

struct hlfs_completion {
    void *tag;
    int result;         /* 0 or a negative errno */
};

/*
 * Take up to MAX finished requests; waits for the first one up to TIMEOUT_MS
 * milliseconds (0: not at all, negative: for ever).  Returns how many (0: none in
 * time, or nothing is unfinished), or a negative errno.  Requests submitted since the
 * last call reach the store at the latest now or by hlfs_queue_kick().
 */
HLFS_PUBLIC int hlfs_queue_reap(struct hlfs_queue *q, struct hlfs_completion *ret,
                                unsigned max, int timeout_ms);

/* Hand what was submitted to the kernel; before waiting for the fd elsewhere. */
HLFS_PUBLIC void hlfs_queue_kick(struct hlfs_queue *q);

/* ---- What a volume is and does -------------------------------------------- */

struct hlfs_info {
    uint32_t format_version;
    uint32_t block_bytes;
    uint64_t size_bytes;
    uint64_t segment_bytes;         /* of the next segment */
    uint64_t log_bytes;             /* all segments and the pool, as laid out */
    uint64_t live_bytes;            /* data and map pages in use, as of the newest
                                     * checkpoint */
    uint64_t pool_bytes;            /* spare files, part of log_bytes */
    uint64_t segments;
    uint64_t epoch;                 /* the writer's term */
    uint64_t seq;                   /* highest record in the log */
    uint64_t synced_seq;            /* highest record known to be durable */
    uint64_t created_us;            /* UTC, microseconds since 1970 */
    uint64_t checkpoint_us;         /* when the newest checkpoint was written; 0 none */
    uint64_t as_of_us;              /* time of the newest record seen */
    uint8_t uuid[16];
    char durability[16];            /* "local", "hflush", "hsync" */
    char holder_host[64];           /* the last writer; empty: there was none */
    uint32_t holder_pid;
    uint32_t holder_alive;          /* 1: it holds the volume now */
    uint64_t holder_since_us;
    uint32_t degraded;              /* fewer copies than asked for */
    uint32_t snapshots;
    uint32_t replication;           /* copies the store is asked for; 0: local */
    uint32_t zero;
    char tail[256];                 /* "host:port host:port": the DataNodes of the newest
                                     * segment; empty: local */
    uint64_t unfinished_us;         /* since when the content is unfinished; 0: whole */
};

/* INFO_BYTES is sizeof(*info) of the caller's header. */
HLFS_PUBLIC int hlfs_get_info(struct hlfs *v, struct hlfs_info *info,
                              size_t info_bytes);

struct hlfs_counters {      /* since open; growing */
    uint64_t reads, read_bytes;
    uint64_t writes, written_bytes;
    uint64_t flushes, discards, zeroes;
    uint64_t read_errors, write_errors;
    uint64_t log_bytes_written;         /* everything appended, pages too */
    uint64_t page_bytes_written;        /* map and table pages of it */
    uint64_t page_loads, page_hits;
    uint64_t store_reads, store_read_bytes;
    uint64_t syncs, checkpoints, segments_created, segments_removed, segments_broken;
    uint64_t dirty_bytes;               /* now: not yet durable */
    uint64_t layer_bytes, cache_bytes;  /* now */
    /* How long requests took, of the last 10 to 20 seconds: half of them, 99 % and 99.9 %
     * were not slower.  Zeroes and discards count as writes. */
    uint64_t read_p50_us, read_p99_us, read_p999_us;
    uint64_t write_p50_us, write_p99_us, write_p999_us;
    uint64_t flush_p50_us, flush_p99_us, flush_p999_us;
};

HLFS_PUBLIC int hlfs_get_counters(struct hlfs *v, struct hlfs_counters *counters,
                                  size_t counters_bytes);

/*
 * Ask the process that holds the volume at LOCATION for writing, if it is on this machine,
 * runs as the same user (or we are root) and opened the volume with the option control.
 * REQUEST is one of
 *     stat                    what the volume is and does
 *     flush                   as hlfs_flush()
 *     resize BYTES [shrink]   as hlfs_resize(); answers size_bytes
 *     set KEY VALUE           as hlfs_set(); answers why, where it fails
 * FN (may be NULL) gets each key and value of the answer, both text; keys are those of
 * struct hlfs_info and struct hlfs_counters, and uptime_us.  Waits for the answer.
 *   -ENOTCONN    nobody holds it here with such a socket (sentence)
 *   -EOPNOTSUPP  the holder does not know REQUEST
 *   or what the call itself gives
 */
HLFS_PUBLIC int hlfs_control(const char *location, const struct hlfs_options *options,
                             const char *request,
                             void (*fn)(void *opaque, const char *key, const char *value),
                             void *opaque);

/* ---- Looking inside ------------------------------------------------------- */

#define HLFS_CHECK_DATA (1u << 0)       /* read and verify every live block too */

struct hlfs_check_result {
    uint64_t segments, records, pages, blocks;      /* looked at */
    uint64_t errors;                                /* damage: something is lost */
    uint64_t warnings;                              /* rubbish, wrong counts */
    uint64_t as_of_us;              /* time of the newest record seen; 0: unknown */
};

/*
 * Look for every inconsistency of the volume at LOCATION; writes nothing.  FN gets a
 * sentence for each (ERROR 1: damage, 0: harmless).  Returns 0 (see *RET for what
 * was found), or a negative errno with a sentence if it could not look.
 */
HLFS_PUBLIC int hlfs_check(const char *location, const struct hlfs_options *options,
                           unsigned flags,
                           void (*fn)(void *opaque, int error, const char *text),
                           void *opaque, struct hlfs_check_result *ret,
                           size_t ret_bytes);

/*
 * What the log holds, for people: one line after the other, segment by segment.  The
 * first says as of when: the time of the newest record when it began.
 */
HLFS_PUBLIC int hlfs_dump(const char *location, const struct hlfs_options *options,
                          void (*fn)(void *opaque, const char *line), void *opaque);

#ifdef __cplusplus
}
#endif

#endif
