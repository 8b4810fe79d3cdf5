/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-store.h - the test of the store contract (src/store/store.h).
 *
 * Every store passes it; a program per store calls store_contract_tests() for each way
 * in which that store can be set up.
 */
#ifndef TEST_STORE_H
#define TEST_STORE_H

#include <stdbool.h>

#include "store/store.h"

struct store_fixture {
    const char *name;       /* printed with the results */
    /* A store with nothing in it, open for writing; NULL fails the test. */
    struct store *(*fresh)(void *opaque);
    /* Free the store and what it kept. */
    void (*finish)(void *opaque, struct store *s);
    void *opaque;
    bool threads;           /* lanes may be used by several threads, and waits block */
    bool reuses;            /* removed files turn up among the spare ones */
};

/* The number of tests that failed. */
int store_contract_tests(const struct store_fixture *fixture);

#endif
