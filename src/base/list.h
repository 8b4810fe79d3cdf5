/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * list.h - an intrusive doubly linked list with a head, as in most C systems code.
 *
 * A node that is in no list points to itself (list_init) so that removing it
 * twice is harmless.  The list owns nothing.
 */
#ifndef HLFS_BASE_LIST_H
#define HLFS_BASE_LIST_H

#include <stdbool.h>
#include "base/util.h"

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_insert_between(struct list *node, struct list *prev,
                                       struct list *next)
{
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}

/* Append NODE at the end of HEAD's list. */
static inline void list_push(struct list *head, struct list *node)
{
    list_insert_between(node, head->prev, head);
}

static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_between(node, head, head->next);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Take the first node off; NULL when there is none. */
static inline struct list *list_pop(struct list *head)
{
    struct list *node = head->next;

    if (node == head) {
        return NULL;
    }
    list_remove(node);
    return node;
}

/* Move all of FROM to the end of TO; FROM is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_entry(node, type, member) container_of(node, type, member)

#define list_first(head, type, member) \
    (list_empty(head) ? NULL : list_entry((head)->next, type, member))

#define list_last(head, type, member) \
    (list_empty(head) ? NULL : list_entry((head)->prev, type, member))

#define list_for_each(pos, head, member)                                    \
    for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member);      \
         &(pos)->member != (head);                                          \
         (pos) = list_entry((pos)->member.next, __typeof__(*(pos)), member))

/* POS may be removed from the list, or freed, in the body. */
#define list_for_each_safe(pos, tmp, head, member)                          \
    for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member),      \
         (tmp) = list_entry((pos)->member.next, __typeof__(*(pos)), member); \
         &(pos)->member != (head);                                          \
         (pos) = (tmp),                                                     \
         (tmp) = list_entry((tmp)->member.next, __typeof__(*(tmp)), member))

#endif
