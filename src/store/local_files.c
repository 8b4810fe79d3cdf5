/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/local_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

/* Of the fds that this process may have, at most a quarter, in these bounds. */
#define FILES_MIN 16
#define FILES_MAX 1024

/* ---- Entries ----------------------------------------------------------------- */

static struct list *bucket_of(struct local_files *f, uint64_t id)
{
    /* Segment numbers are consecutive; the kind shifts them. */
    return &f->bucket[(store_segno(id) + (id & STORE_MOVED ? FILES_BUCKETS / 2 : 0)) %
                      FILES_BUCKETS];
}

static struct local_file *find_locked(struct local_files *f, uint64_t id)
{
    struct local_file *file;

    list_for_each(file, bucket_of(f, id), bucket) {
        if (file->id == id) {
            return file;
        }
    }
    return NULL;
}

static struct local_file *file_new(uint64_t id)
{
    struct local_file *file = calloc(1, sizeof(*file));

    if (file) {
        file->id = id;
        file->fd = -1;
        list_init(&file->bucket);
        list_init(&file->lru);
    }
    return file;
}

/* Close and free the files of a list; without the lock, as close() may take long. */
static void dispose(struct list *files)
{
    struct local_file *file, *next;

    list_for_each_safe(file, next, files, lru) {
        assert(file->pins == 0);        /* FILES-2 */
        if (file->fd >= 0) {
            (void)close(file->fd);
        }
        free(file);
    }
}

static void hash_locked(struct local_files *f, struct local_file *file)
{
    list_push_front(bucket_of(f, file->id), &file->bucket);
    file->hashed = true;
    f->n++;
}

/* Take FILE out of the tables; if nothing uses it, it goes to DEAD. */
static void unhash_locked(struct local_files *f, struct local_file *file,
                          struct list *dead)
{
    list_remove(&file->bucket);
    list_remove(&file->lru);
    file->hashed = false;
    f->n--;
    if (file->pins == 0) {
        list_push(dead, &file->lru);
    }
}

static void evict_locked(struct local_files *f, unsigned max, struct list *dead)
{
    while (f->n > max && !list_empty(&f->lru)) {
        unhash_locked(f, list_first(&f->lru, struct local_file, lru), dead);
    }
}

static void pin_locked(struct local_file *file)
{
    file->pins++;
    list_remove(&file->lru);
}

/* FILE may have come to rest: cached if it is still known, else dead. */
static void rest_locked(struct local_files *f, struct local_file *file,
                        struct list *dead)
{
    if (file->pins > 0) {
        return;
    }
    if (!file->hashed) {
        list_push(dead, &file->lru);
    } else if (!file->writer) {
        list_push(&f->lru, &file->lru);
        evict_locked(f, f->max, dead);
    }
}

/* ---- Pinning ----------------------------------------------------------------- */

bool local_files_make_room(struct local_files *f)
{
    struct list dead;
    bool any;

    list_init(&dead);
    (void)pthread_mutex_lock(&f->lock);
    any = !list_empty(&f->lru);
    evict_locked(f, f->n - 1, &dead);
    (void)pthread_mutex_unlock(&f->lock);
    dispose(&dead);
    return any;
}

/* Open the entry FILE, which we have just put into the table and pinned. */
static void open_entry(struct local_files *f, struct local_file *file)
{
    struct list dead;
    bool direct;
    int fd;

    do {
        fd = local_dir_open_file(f->dir, file->id, O_RDONLY, &direct);
    } while ((fd == -EMFILE || fd == -ENFILE) && local_files_make_room(f));

    list_init(&dead);
    (void)pthread_mutex_lock(&f->lock);
    file->opening = false;
    if (fd >= 0) {
        file->fd = fd;
        file->direct = direct;
    } else {
        file->error = fd;
        if (file->hashed) {
            unhash_locked(f, file, &dead);
        }
    }
    (void)pthread_cond_broadcast(&f->opened);
    (void)pthread_mutex_unlock(&f->lock);
    assert(list_empty(&dead));      /* we hold a pin */
}

int local_files_get(struct local_files *f, uint64_t id, struct local_file **ret)
{
    struct local_file *file;
    struct list dead;
    int r;

    list_init(&dead);
    (void)pthread_mutex_lock(&f->lock);
    file = find_locked(f, id);
    if (file) {
        pin_locked(file);
        while (file->opening) {
            (void)pthread_cond_wait(&f->opened, &f->lock);
        }
        (void)pthread_mutex_unlock(&f->lock);
    } else {
        file = file_new(id);
        if (!file) {
            (void)pthread_mutex_unlock(&f->lock);
            return -ENOMEM;
        }
        /* In the table before it is opened, so that a removal meanwhile sees it. */
        file->opening = true;
        file->pins = 1;
        hash_locked(f, file);
        evict_locked(f, f->max, &dead);
        (void)pthread_mutex_unlock(&f->lock);
        dispose(&dead);
        open_entry(f, file);
    }
    r = file->error;
    if (r < 0) {
        local_files_put(f, file);
        return r;
    }
    *ret = file;
    return 0;
}

void local_files_put(struct local_files *f, struct local_file *file)
{
    struct list dead;

    list_init(&dead);
    (void)pthread_mutex_lock(&f->lock);
    assert(file->pins > 0);
    file->pins--;
    rest_locked(f, file, &dead);
    (void)pthread_mutex_unlock(&f->lock);
    dispose(&dead);
}

/* ---- Writers ----------------------------------------------------------------- */

static uint64_t *clean_slot(struct local_files *f, uint64_t id)
{
    return &f->clean[id & STORE_MOVED ? 1 : 0][store_segno(id) % FILES_CLEAN];
}

/* FILE may have seen the last of its appends. */
static void settle_locked(struct local_files *f, struct local_file *file)
{
    if (file->writer && file->sealed && file->appends == 0) {
        file->writer = false;
        if (!file->broken && file->hashed) {
            *clean_slot(f, file->id) = file->id;        /* FILES-3 */
        }
    }
}

int local_files_add(struct local_files *f, uint64_t id, int fd, bool direct)
{
    struct local_file *file = file_new(id), *old;
    struct list dead;

    if (!file) {
        return -ENOMEM;
    }
    list_init(&dead);
    file->fd = fd;
    file->direct = direct;
    file->created = true;
    file->writer = true;
    (void)pthread_mutex_lock(&f->lock);
    old = find_locked(f, id);
    if (old) {
        unhash_locked(f, old, &dead);   /* a reader that was here too early */
    }
    *clean_slot(f, id) = 0;
    hash_locked(f, file);
    evict_locked(f, f->max, &dead);
    (void)pthread_mutex_unlock(&f->lock);
    dispose(&dead);
    return 0;
}

int local_files_get_append(struct local_files *f, uint64_t id, struct local_file **ret)
{
    struct local_file *file;
    int r = -EBADF;

    (void)pthread_mutex_lock(&f->lock);
    file = find_locked(f, id);
    if (file && file->writer && !file->sealed) {
        pin_locked(file);
        file->appends++;
        *ret = file;
        r = 0;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return r;
}

void local_files_put_append(struct local_files *f, struct local_file *file, bool ok)
{
    struct list dead;

    list_init(&dead);
    (void)pthread_mutex_lock(&f->lock);
    assert(file->pins > 0 && file->appends > 0);
    file->pins--;
    file->appends--;
    file->broken = file->broken || !ok;
    settle_locked(f, file);
    rest_locked(f, file, &dead);
    (void)pthread_mutex_unlock(&f->lock);
    dispose(&dead);
}

void local_files_seal(struct local_files *f, uint64_t id)
{
    struct local_file *file;
    struct list dead;

    list_init(&dead);
    (void)pthread_mutex_lock(&f->lock);
    file = find_locked(f, id);
    if (file && file->writer && !file->sealed) {
        file->sealed = true;
        settle_locked(f, file);
        rest_locked(f, file, &dead);
    }
    (void)pthread_mutex_unlock(&f->lock);
    dispose(&dead);
}

bool local_files_forget(struct local_files *f, uint64_t id)
{
    struct local_file *file;
    struct list dead;
    bool clean;

    list_init(&dead);
    (void)pthread_mutex_lock(&f->lock);
    clean = *clean_slot(f, id) == id;
    if (clean) {
        *clean_slot(f, id) = 0;
    }
    file = find_locked(f, id);
    if (file) {
        /* A read in flight must not see what another file writes in its place. */
        clean = clean && file->pins == 0;
        unhash_locked(f, file, &dead);
    }
    (void)pthread_mutex_unlock(&f->lock);
    dispose(&dead);
    return clean;
}

/* ---- The cache --------------------------------------------------------------- */

void local_files_init(struct local_files *f, struct local_dir *dir)
{
    struct rlimit limit;

    f->dir = dir;
    f->max = FILES_MIN;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        f->max = (unsigned)MIN(MAX(limit.rlim_cur / 4, FILES_MIN), FILES_MAX);
    }
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_cond_init(&f->opened, NULL);
    for (unsigned i = 0; i < FILES_BUCKETS; i++) {
        list_init(&f->bucket[i]);
    }
    list_init(&f->lru);
}

void local_files_done(struct local_files *f)
{
    struct local_file *file, *next;
    struct list dead;

    list_init(&dead);
    for (unsigned i = 0; i < FILES_BUCKETS; i++) {
        list_for_each_safe(file, next, &f->bucket[i], bucket) {
            unhash_locked(f, file, &dead);
        }
    }
    dispose(&dead);
    (void)pthread_cond_destroy(&f->opened);
    (void)pthread_mutex_destroy(&f->lock);
}
