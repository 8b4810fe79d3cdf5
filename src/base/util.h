/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * util.h - small macros used everywhere: minima, alignment, containers, cleanup.
 *
 * Knows nothing of the project.  Everything is usable from any thread.
 */
#ifndef HLFS_BASE_UTIL_H
#define HLFS_BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ALIGN is a power of two. */
#define ALIGN_DOWN(x, align) ((x) & ~((__typeof__(x))(align) - 1))
#define ALIGN_UP(x, align) ALIGN_DOWN((x) + ((__typeof__(x))(align) - 1), (align))
#define IS_ALIGNED(x, align) (((x) & ((__typeof__(x))(align) - 1)) == 0)
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))

/* Hand an owned pointer on: the variable forgets it. */
#define TAKE_PTR(p) \
    ({ __typeof__(p) take_ptr_value = (p); (p) = NULL; take_ptr_value; })

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _unused_ __attribute__((unused))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))

static inline void util_freep(void *p)
{
    free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(util_freep)

static inline void util_closep(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}
#define _cleanup_close_ _cleanup_(util_closep)

/*
 * ARRAY, which has COUNT items of ITEM bytes and room for *ROOM, with room for one more: to
 * be kept instead of ARRAY.  NULL: out of memory, and nothing has changed.
 */
static inline void *array_room(void *array, size_t count, size_t *room, size_t item)
{
    size_t bigger = *room * 2 > 64 ? *room * 2 : 64;
    void *ret;

    if (count < *room) {
        return array;
    }
    ret = realloc(array, bigger * item);
    if (ret) {
        *room = bigger;
    }
    return ret;
}

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

#endif
