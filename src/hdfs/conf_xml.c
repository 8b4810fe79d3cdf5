/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The form of a configuration file:
 *
 *     <configuration>
 *       <property><name>..</name><value>..</value><final>true</final></property>
 *       <property name=".." value=".." final="true"/>
 *       <xi:include href="other.xml"><xi:fallback> ... </xi:fallback></xi:include>
 *     </configuration>
 *
 * What else there is (description, source, tag) is passed over, as Hadoop does.  A file
 * that is included may have a <configuration> of its own, or stand in ours.
 */
#include "hdfs/conf_private.h"

#include <errno.h>
#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "hdfs/iobuf.h"

/* Elements within each other. */
#define DEPTH_MAX 64

enum field { FIELD_NONE, FIELD_NAME, FIELD_VALUE, FIELD_FINAL, FIELD_COUNT };

struct reader {
    struct conf *conf;          /* borrowed */
    const char *name;           /* borrowed: of the file */
    unsigned depth;             /* of files */
    XML_Parser parser;
    unsigned level;             /* of elements */
    unsigned property_level;    /* of the <property> we are in; 0: none */
    enum field field;           /* whose text comes now */
    struct iobuf texts[FIELD_COUNT];
    bool has[FIELD_COUNT];
    unsigned skip_level;        /* of an element that does not count; 0: none */
    unsigned include_level;     /* of the <include> we are in; 0: none */
    bool included;              /* and its file was there */
    int error;
};

static void stop(struct reader *r, int error)
{
    if (r->error == 0) {
        r->error = error;
        (void)XML_StopParser(r->parser, XML_FALSE);
    }
}

/* Prefixes are whatever the file chose. */
static const char *local_name(const char *name)
{
    const char *colon = strrchr(name, ':');

    return colon ? colon + 1 : name;
}

static void put_text(struct reader *r, enum field f, const char *s, size_t len)
{
    if (iobuf_add(&r->texts[f], s, len) < 0) {
        stop(r, -ENOMEM);
    }
}

/* ---- Properties ---------------------------------------------------------- */

/* The text of a field, ended; it has a NUL nowhere else, for XML has none. */
static const char *field_text(struct reader *r, enum field f)
{
    put_text(r, f, "", 1);
    return r->error ? "" : (const char *)iobuf_bytes(&r->texts[f]);
}

static bool is_true(const char *text)
{
    size_t len;

    text += strspn(text, " \t\r\n");
    len = strcspn(text, " \t\r\n");
    return len == 4 && strncasecmp(text, "true", len) == 0 &&
        text[len + strspn(text + len, " \t\r\n")] == '\0';
}

static void property_begin(struct reader *r, const char **attributes)
{
    static const char *const names[] = {
        [FIELD_NAME] = "name", [FIELD_VALUE] = "value", [FIELD_FINAL] = "final",
    };

    r->property_level = r->level;
    for (unsigned f = FIELD_NAME; f < FIELD_COUNT; f++) {
        iobuf_consume(&r->texts[f], iobuf_len(&r->texts[f]));
        r->has[f] = false;
        for (unsigned i = 0; attributes[i]; i += 2) {
            if (strcmp(attributes[i], names[f]) == 0) {
                put_text(r, f, attributes[i + 1], strlen(attributes[i + 1]));
                r->has[f] = true;
            }
        }
    }
}

static void property_end(struct reader *r)
{
    const char *key, *value;
    char trimmed[1024];
    size_t len;
    int res;

    r->property_level = 0;
    if (!r->has[FIELD_NAME] || !r->has[FIELD_VALUE]) {
        return;
    }
    key = field_text(r, FIELD_NAME);
    value = field_text(r, FIELD_VALUE);
    key += strspn(key, " \t\r\n");
    len = strcspn(key, " \t\r\n");
    /* A key that is longer than this is none that anybody asks for. */
    if (r->error || len == 0 || len >= sizeof(trimmed)) {
        return;
    }
    memcpy(trimmed, key, len);
    trimmed[len] = '\0';
    res = conf_put(r->conf, trimmed, value, is_true(field_text(r, FIELD_FINAL)));
    if (res < 0) {
        stop(r, res);
    }
}

static void field_begin(struct reader *r, const char *name)
{
    r->field = strcmp(name, "name") == 0 ? FIELD_NAME :
        strcmp(name, "value") == 0 ? FIELD_VALUE :
        strcmp(name, "final") == 0 ? FIELD_FINAL : FIELD_NONE;
    if (r->field != FIELD_NONE) {
        iobuf_consume(&r->texts[r->field], iobuf_len(&r->texts[r->field]));
        r->has[r->field] = true;
    }
}

/* ---- Includes ------------------------------------------------------------ */

/* HREF as seen from the file that has it. */
static char *include_path(const struct reader *r, const char *href)
{
    const char *slash = strrchr(r->name, '/');
    char *path = NULL;
    int n;

    if (strncmp(href, "file:", 5) == 0) {
        href += 5;
        href += strncmp(href, "//", 2) == 0 ? 2 : 0;
    }
    if (href[0] == '/' || !slash) {
        return strdup(href);
    }
    n = asprintf(&path, "%.*s/%s", (int)(slash - r->name), r->name, href);
    return n < 0 ? NULL : path;
}

static const char *attribute(const char **attributes, const char *name)
{
    for (unsigned i = 0; attributes[i]; i += 2) {
        if (strcmp(attributes[i], name) == 0) {
            return attributes[i + 1];
        }
    }
    return NULL;
}

/* What is within <include> counts only inside its <fallback>, and only if there is no
 * such file. */
static void include_begin(struct reader *r, const char **attributes)
{
    const char *href = attribute(attributes, "href");
    _cleanup_free_ char *path = href ? include_path(r, href) : NULL;
    int res;

    if (!href) {
        return;
    }
    r->include_level = r->level;
    if (r->depth + 1 >= CONF_INCLUDES_MAX) {
        stop(r, error_set(-ELOOP, "%s: files include each other too deeply", r->name));
        return;
    }
    res = path ? conf_file_read(r->conf, path, r->depth + 1) : -ENOMEM;
    r->included = res == 0;
    if (res < 0 && res != -ENOENT) {
        stop(r, res);
    }
}

static void include_end(struct reader *r)
{
    r->include_level = 0;
}

/* ---- Elements ------------------------------------------------------------ */

static void element_begin(void *opaque, const char *name, const char **attributes)
{
    struct reader *r = opaque;

    name = local_name(name);
    if (++r->level > DEPTH_MAX) {
        stop(r, -EINVAL);
    } else if (r->skip_level) {
        return;
    } else if (r->property_level) {
        r->field = FIELD_NONE;
        if (r->level == r->property_level + 1) {
            field_begin(r, name);
        }
    } else if (r->include_level && r->level == r->include_level + 1 &&
               (strcmp(name, "fallback") != 0 || r->included)) {
        r->skip_level = r->level;
    } else if (strcmp(name, "property") == 0) {
        property_begin(r, attributes);
    } else if (strcmp(name, "include") == 0 && !r->include_level) {
        include_begin(r, attributes);
    }
}

static void element_end(void *opaque, const char *name _unused_)
{
    struct reader *r = opaque;

    r->field = FIELD_NONE;
    if (r->skip_level == r->level) {
        r->skip_level = 0;
    } else if (r->property_level && r->property_level == r->level) {
        property_end(r);
    } else if (r->include_level && r->include_level == r->level) {
        include_end(r);
    }
    r->level--;
}

static void characters(void *opaque, const char *text, int len)
{
    struct reader *r = opaque;

    if (r->field != FIELD_NONE && !r->skip_level) {
        put_text(r, r->field, text, (size_t)len);
    }
}

/* ---- A file -------------------------------------------------------------- */

static int parse(struct reader *r, const char *text, size_t len)
{
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, element_begin, element_end);
    XML_SetCharacterDataHandler(r->parser, characters);
    if (XML_Parse(r->parser, text, (int)len, XML_TRUE) == XML_STATUS_OK) {
        return 0;
    }
    if (r->error < 0) {
        return error_text()[0] ? r->error
            : error_set(r->error, "cannot read %s: %s", r->name, error_name(r->error));
    }
    return error_set(-EINVAL, "%s, line %lu: %s", r->name,
                     (unsigned long)XML_GetCurrentLineNumber(r->parser),
                     XML_ErrorString(XML_GetErrorCode(r->parser)));
}

int conf_xml_read(struct conf *c, const char *name, const char *text, size_t len,
                  unsigned depth)
{
    struct reader r = { .conf = c, .name = name, .depth = depth };
    int res;

    error_clear();
    if (len > CONF_FILE_MAX) {
        return error_set(-EFBIG, "%s is too large for a configuration", name);
    }
    r.parser = XML_ParserCreate(NULL);
    if (!r.parser) {
        return error_set(-ENOMEM, "no memory");
    }
    res = parse(&r, text, len);
    XML_ParserFree(r.parser);
    for (unsigned f = 0; f < FIELD_COUNT; f++) {
        iobuf_done(&r.texts[f]);
    }
    return res;
}
