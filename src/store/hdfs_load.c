/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loads libhlfs-hdfs.so when the first location of HDFS is opened, from beside libhlfs:
 * no library of HDFS is in a process that uses local volumes only.  It is never unloaded.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "store/hdfs_module.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct hdfs_module *loaded;

/* Where libhlfs is: LIBDIR, with the module in LIBDIR/hlfs, or a build. */
static int own_directory(char *buf, size_t size)
{
    const char *slash;
    Dl_info info;

    if (!dladdr(&loaded, &info) || !info.dli_fname ||
        !(slash = strrchr(info.dli_fname, '/')) ||
        (size_t)(slash - info.dli_fname) >= size) {
        return -ENOENT;
    }
    (void)snprintf(buf, size, "%.*s", (int)(slash - info.dli_fname), info.dli_fname);
    return 0;
}

static void *open_module(void)
{
    static const char *const places[] = { "/hlfs", "" };
    char dir[3500], path[4096];
    void *handle = NULL;

    if (own_directory(dir, sizeof(dir)) < 0) {
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(places) && !handle; i++) {
        (void)snprintf(path, sizeof(path), "%s%s/" HDFS_MODULE_FILE, dir, places[i]);
        if (access(path, F_OK) == 0) {
            handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        }
    }
    return handle;
}

/* Under the lock. */
static int load(void)
{
    const struct hdfs_module *(*entry)(char *(*error_buffer)(void));
    const struct hdfs_module *module;
    const char *why;
    void *handle;

    (void)dlerror();
    handle = open_module();
    entry = handle ? dlsym(handle, HDFS_MODULE_SYMBOL) : NULL;
    if (!entry) {
        why = dlerror();
        return error_set(-ENOTSUP, "this libhlfs has no HDFS: %s",
                         why ? why : "hlfs/" HDFS_MODULE_FILE " is not installed");
    }
    module = entry(error_buffer);
    if (strcmp(module->version, HLFS_VERSION) != 0) {
        return error_set(-ENOTSUP, HDFS_MODULE_FILE " is of version %s, libhlfs of "
                         HLFS_VERSION "; install the same of both", module->version);
    }
    loaded = module;
    return 0;
}

static int load_once(void)
{
    int res;

    (void)pthread_mutex_lock(&lock);
    res = loaded ? 0 : load();
    (void)pthread_mutex_unlock(&lock);
    return res;
}

int hdfs_store_open(const struct hdfs_store_params *params, struct store **ret)
{
    int res = load_once();

    return res < 0 ? res : loaded->open(params, ret);
}

int hdfs_store_volumes(const struct hdfs_store_params *params,
                       int (*fn)(void *opaque, const char *name), void *opaque)
{
    int res = load_once();

    return res < 0 ? res : loaded->volumes(params, fn, opaque);
}
