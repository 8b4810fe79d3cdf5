/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hdfs/conf_private.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/util.h"
#include "hdfs/iobuf.h"

/* org.apache.hadoop.conf.Configuration: MAX_SUBST */
#define SUBSTITUTIONS_MAX 20
#define VALUE_MAX ((size_t)1 << 20)

struct entry {
    char *key;                  /* owned */
    char *value;                /* owned */
    bool final;
};

struct conf {
    struct entry *entries;      /* owned */
    size_t count, cap;
};

/* ---- What is set --------------------------------------------------------- */

struct conf *conf_new(void)
{
    return calloc(1, sizeof(struct conf));
}

void conf_free(struct conf *c)
{
    if (!c) {
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        free(c->entries[i].key);
        free(c->entries[i].value);
    }
    free(c->entries);
    free(c);
}

static struct entry *entry_find(const struct conf *c, const char *key)
{
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->entries[i].key, key) == 0) {
            return &c->entries[i];
        }
    }
    return NULL;
}

static int entry_add(struct conf *c, const char *key, struct entry **ret)
{
    struct entry *e;

    if (c->count >= CONF_KEYS_MAX) {
        return -E2BIG;
    }
    if (c->count == c->cap) {
        size_t cap = MAX(2 * c->cap, (size_t)64);

        e = realloc(c->entries, cap * sizeof(*e));
        if (!e) {
            return -ENOMEM;
        }
        c->entries = e;
        c->cap = cap;
    }
    e = &c->entries[c->count];
    *e = (struct entry){ .key = strdup(key) };
    if (!e->key) {
        return -ENOMEM;
    }
    c->count++;
    *ret = e;
    return 0;
}

static int entry_set(struct conf *c, const char *key, const char *value,
                     struct entry **ret)
{
    char *copy = strdup(value);
    int r = copy ? 0 : -ENOMEM;

    *ret = entry_find(c, key);
    if (r == 0 && !*ret) {
        r = entry_add(c, key, ret);
    }
    if (r < 0) {
        free(copy);
        return r;
    }
    free((*ret)->value);
    (*ret)->value = copy;
    return 0;
}

int conf_put(struct conf *c, const char *key, const char *value, bool final)
{
    struct entry *e = entry_find(c, key);
    int r;

    if (e && e->final) {
        return 0;
    }
    r = entry_set(c, key, value, &e);
    if (r == 0) {
        e->final = final;
    }
    return r;
}

int conf_set(struct conf *c, const char *key, const char *value)
{
    struct entry *e;
    int r = entry_set(c, key, value, &e);

    return r < 0 ? error_set(r, "cannot set %s: %s", key, error_name(r)) : 0;
}

const char *conf_raw(const struct conf *c, const char *key)
{
    const struct entry *e = entry_find(c, key);

    return e && e->value ? e->value : NULL;
}

/* ---- Files --------------------------------------------------------------- */

static int read_all(int fd, struct iobuf *ret)
{
    ssize_t n;

    do {
        int r = iobuf_reserve(ret, KIB(16));

        if (r < 0) {
            return r;
        }
        n = read(fd, ret->data + ret->end, iobuf_room(ret));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        ret->end += (size_t)MAX(n, 0);
        if (iobuf_len(ret) > CONF_FILE_MAX) {
            return -EFBIG;
        }
    } while (n != 0);
    return 0;
}

int conf_file_read(struct conf *c, const char *path, unsigned depth)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct iobuf text = { 0 };
    struct stat st;
    int r;

    if (fd < 0) {
        r = -errno;
    } else if (fstat(fd, &st) < 0) {
        r = -errno;
    } else {
        r = S_ISREG(st.st_mode) ? read_all(fd, &text) : -EINVAL;
    }
    if (r == 0) {
        r = conf_xml_read(c, path, (const char *)text.data, iobuf_len(&text), depth);
    } else if (r != -ENOENT) {
        r = error_set(r, "cannot read %s: %s", path, error_name(r));
    }
    iobuf_done(&text);
    return r;
}

int conf_load_file(struct conf *c, const char *path)
{
    int r = conf_file_read(c, path, 0);

    return r == -ENOENT ? error_set(r, "there is no file %s", path) : r;
}

int conf_load_text(struct conf *c, const char *name, const char *text, size_t len)
{
    return conf_xml_read(c, name, text, len, 0);
}

int conf_load(struct conf *c, const char *dir)
{
    static const char *const files[] = { "core-site.xml", "hdfs-site.xml" };
    struct stat st;

    if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
        return error_set(-ENOENT, "there is no directory %s with the configuration of "
                         "Hadoop", dir);
    }
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_free_ char *path = NULL;
        int r = asprintf(&path, "%s/%s", dir, files[i]);

        if (r < 0) {
            path = NULL;
            return error_set(-ENOMEM, "no memory");
        }
        r = conf_file_read(c, path, 0);
        if (r < 0 && r != -ENOENT) {
            return r;
        }
    }
    return 0;
}

/* ---- Variables ----------------------------------------------------------- */

/*
 * The first "${name}" at or after FROM whose name has no '$', '}' or blank: so the
 * inner one of "${a${b}}" goes first.
 */
static bool find_variable(const char *text, size_t from, size_t *ret_start,
                          size_t *ret_len)
{
    for (const char *at = text + from; (at = strstr(at, "${")); at += 2) {
        size_t n = strcspn(at + 2, "$} ");

        if (n > 0 && at[2 + n] == '}') {
            *ret_start = (size_t)(at - text);
            *ret_len = n;
            return true;
        }
    }
    return false;
}

/* env.NAME, env.NAME-default (where it is not set), env.NAME:-default (nor empty). */
static const char *env_value(char *name)
{
    char *dash = strchr(name, '-');
    bool or_empty = dash && dash > name && dash[-1] == ':';
    const char *value;

    if (dash) {
        *(or_empty ? dash - 1 : dash) = '\0';
    }
    value = getenv(name);
    if (dash && (!value || (or_empty && !value[0]))) {
        return dash + 1;
    }
    return value;
}

/* Borrowed from the environment, C, or NAME, which may change; NULL: not known. */
static const char *variable_value(const struct conf *c, char *name)
{
    return strncmp(name, "env.", 4) == 0 ? env_value(name + 4) : conf_raw(c, name);
}

/* TEXT with LEN bytes at START replaced; NULL: no memory, or too long. */
static char *replace(const char *text, size_t start, size_t len, const char *by)
{
    char *result = NULL;

    if (strlen(text) + strlen(by) > VALUE_MAX ||
        asprintf(&result, "%.*s%s%s", (int)start, text, by, text + start + len) < 0) {
        return NULL;
    }
    return result;
}

/* Replace variables in *TEXT, which is owned. */
static int expand(const struct conf *c, char **text)
{
    size_t from = 0, start, len;

    for (unsigned i = 0; i < SUBSTITUTIONS_MAX; i++) {
        _cleanup_free_ char *name = NULL;
        const char *value;
        char *result;

        if (!find_variable(*text, from, &start, &len)) {
            break;
        }
        name = strndup(*text + start + 2, len);
        if (!name) {
            return -ENOMEM;
        }
        value = variable_value(c, name);
        if (!value) {
            from = start + len + 3;
            continue;
        }
        result = replace(*text, start, len + 3, value);
        if (!result) {
            return -ENOMEM;
        }
        free(*text);
        *text = result;
    }
    return 0;
}

static void trim(char *text)
{
    size_t skip = strspn(text, " \t\r\n"), len = strlen(text + skip);

    while (len > 0 && isspace((unsigned char)text[skip + len - 1])) {
        len--;
    }
    memmove(text, text + skip, len);
    text[len] = '\0';
}

char *conf_get(const struct conf *c, const char *key)
{
    const char *raw = conf_raw(c, key);
    char *text = raw ? strdup(raw) : NULL;

    if (!text) {
        return NULL;
    }
    if (expand(c, &text) < 0) {
        free(text);
        return NULL;
    }
    trim(text);
    return text;
}

/* ---- Kinds of values ----------------------------------------------------- */

bool conf_bool(const struct conf *c, const char *key, bool fallback)
{
    _cleanup_free_ char *text = conf_get(c, key);

    if (text && strcasecmp(text, "true") == 0) {
        return true;
    }
    if (text && strcasecmp(text, "false") == 0) {
        return false;
    }
    return fallback;
}

/* Digits (or 0x…), times what UNITS says of the rest; false: none of that, or too much.
 * UNIT is for a number alone. */
struct unit {
    const char *name;
    uint64_t factor;
};

static bool number_with_unit(const char *text, const struct unit *units, size_t n,
                             uint64_t unit, uint64_t *ret)
{
    char *end;
    uint64_t v, factor = unit;

    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    v = strtoull(text, &end, strncasecmp(text, "0x", 2) == 0 ? 16 : 10);
    if (errno != 0) {
        return false;
    }
    for (size_t i = 0; i < n && *end; i++) {
        if (strcasecmp(end, units[i].name) == 0) {
            factor = units[i].factor;
            end += strlen(end);
        }
    }
    return !*end && !__builtin_mul_overflow(v, factor, ret);
}

uint64_t conf_number(const struct conf *c, const char *key, uint64_t fallback)
{
    _cleanup_free_ char *text = conf_get(c, key);
    uint64_t v;

    return text && number_with_unit(text, NULL, 0, 1, &v) ? v : fallback;
}

uint64_t conf_size(const struct conf *c, const char *key, uint64_t fallback)
{
    static const struct unit units[] = {
        { "k", KIB(1) }, { "m", MIB(1) }, { "g", GIB(1) }, { "t", TIB(1) },
        { "p", TIB(1024) }, { "e", TIB(1048576) },
    };
    _cleanup_free_ char *text = conf_get(c, key);
    uint64_t v;

    return text && number_with_unit(text, units, ARRAY_SIZE(units), 1, &v)
        ? v : fallback;
}

uint64_t conf_time_us(const struct conf *c, const char *key, uint64_t unit_us,
                      uint64_t fallback_us)
{
    static const struct unit units[] = {
        { "us", 1 }, { "ms", 1000 }, { "s", 1000000 }, { "m", 60 * 1000000ull },
        { "h", 3600 * 1000000ull }, { "d", 86400 * 1000000ull },
    };
    _cleanup_free_ char *text = conf_get(c, key);
    uint64_t v;

    return text && number_with_unit(text, units, ARRAY_SIZE(units), unit_us, &v)
        ? v : fallback_us;
}
