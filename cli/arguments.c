/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * arguments.c - one table of all options of all commands, and the help made of it.
 *
 * An option means the same in every command that has it, so options and operands,
 * the command's name among them, may stand in any order.
 */
#include "common.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *argument;       /* NULL: a flag */
    bool library;               /* an option of create, by the same name */
    const char *help;
} rows[OPTIONS] = {
    [OPTION_BLOCK_SIZE] = { "block-size", "N", true, "4K (default) to 64K" },
    [OPTION_SEGMENT_SIZE] = { "segment-size", "N", true,
                              "a multiple of 1M, 4M to 1G; default: by the volume's size" },
    [OPTION_COMPRESSION] = { "compression", "NAME", true, "none (default)" },
    [OPTION_REPLICATION] = { "replication", "N", true,
                             "copies in HDFS; default: the cluster's" },
    [OPTION_KEEP] = { "keep", "TIME", true, "history to keep; so far 0 only" },
    [OPTION_MODE] = { "mode", "M", true, "permissions of its files; default: 0600" },
    [OPTION_CLONABLE_BY] = { "clonable-by", "GROUP", true, "for later versions" },
    [OPTION_FORCE] = { "force", NULL, false, "replace what is there" },
    [OPTION_YES] = { "yes", NULL, false, "do not ask" },
    [OPTION_JSON] = { "json", NULL, false, "for programs" },
    [OPTION_DATA] = { "data", NULL, false, "read and verify every live block too" },
    [OPTION_SOCKET] = { "socket", "PATH", false,
                        "default: hlfs-NAME.sock in $XDG_RUNTIME_DIR, else "
                        "/run/hlfs/NAME.sock" },
    [OPTION_PORT] = { "port", "N", false, "a TCP port of this machine (127.0.0.1)" },
    [OPTION_READ_ONLY] = { "read-only", NULL, false, "refuse writes, hold nothing" },
    [OPTION_IO] = { "io", "KIND", false, "read, write or rw (half of each)" },
    [OPTION_PATTERN] = { "pattern", "KIND", false, "seq or rand (default)" },
    [OPTION_SIZE] = { "size", "N", false,
                      "of the volume (import); of a request (bench), default: 4K" },
    [OPTION_DEPTH] = { "depth", "N", false,
                       "unfinished requests of a thread, 1 (default) to 4096" },
    [OPTION_FLUSH_EVERY] = { "flush-every", "N", false,
                             "flush after each N writes of a thread" },
    [OPTION_THREADS] = { "threads", "N", false, "1 (default) to 256" },
    [OPTION_RANGE] = { "range", "BYTES", false,
                       "stay in the volume's first BYTES; default: all" },
    [OPTION_TIME] = { "time", "S", false, "seconds to run; default: 10" },
    [OPTION_COUNT] = { "count", "N", false, "requests to make, instead of --time" },
    [OPTION_VERIFY] = { "verify", NULL, false,
                        "after writing, read everything back and compare" },
    [OPTION_SEED] = { "seed", "N", false,
                      "write what N says, each place once; read: compare with that" },
    [OPTION_WARM_POOL] = { "warm-pool", NULL, false,
                           "first wait until the spare files are laid out" },
    [OPTION_SHRINK] = { "shrink", NULL, false, "what lies behind the new size is lost" },
    [OPTION_WATCH] = { "watch", NULL, false, "go on until Ctrl-C" },
    [OPTION_INTERVAL] = { "interval", "S", false, "seconds that rates are of; default: 1" },
    [OPTION_RESCUE] = { "rescue", NULL, false,
                        "export what is left of a damaged volume, say what is lost" },
    [OPTION_FOREGROUND] = { "foreground", NULL, false, "stay there until it is unmounted" },
    [OPTION_ALLOW_OTHER] = { "allow-other", NULL, false,
                             "let other users in, root too, as far as its mode does" },
};

#define CODE_FIRST 256          /* getopt's codes of long options, above characters */
#define CODE_HELP (CODE_FIRST + OPTIONS)
#define CODE_VERSION (CODE_HELP + 1)

/* ---- Reading -------------------------------------------------------------- */

static void getopt_table(struct option *table)
{
    unsigned n = 0;

    for (; n < OPTIONS; n++) {
        table[n] = (struct option){
            .name = rows[n].name,
            .has_arg = rows[n].argument ? required_argument : no_argument,
            .val = (int)(CODE_FIRST + n),
        };
    }
    table[n++] = (struct option){ .name = "help", .val = CODE_HELP };
    table[n++] = (struct option){ .name = "version", .val = CODE_VERSION };
    table[n] = (struct option){ 0 };
}

/* Take what getopt finds; the operands, the command first, stay in ARGV. */
static int options_read(int argc, char **argv, struct arguments *a)
{
    struct option table[OPTIONS + 3];
    int code;

    getopt_table(table);
    opterr = 0;
    while ((code = getopt_long(argc, argv, ":ho:V", table, NULL)) != -1) {
        if (code == 'o') {
            a->sets[a->set_count++] = optarg;
        } else if (code == 'h' || code == CODE_HELP) {
            a->help = true;
        } else if (code == 'V' || code == CODE_VERSION) {
            a->version = true;
        } else if (code >= CODE_FIRST && code < CODE_HELP) {
            a->value[code - CODE_FIRST] = optarg ? optarg : "";
        } else if (code == ':') {
            return fail_usage("the option %s needs a value", argv[optind - 1]);
        } else if (optopt > 0 && optopt < CODE_FIRST) {
            return fail_usage("there is no option -%c; see hlfs --help", optopt);
        } else if (optopt >= CODE_FIRST) {
            return fail_usage("the option %s takes no value", argv[optind - 1]);
        } else {
            return fail_usage("there is no option %s, or it is short for more than "
                              "one; see hlfs --help", argv[optind - 1]);
        }
    }
    return EXIT_OK;
}

static int command_find(const struct command *commands, const char *name,
                        struct arguments *a)
{
    for (const struct command *c = commands; c->name; c++) {
        if (strcmp(c->name, name) == 0) {
            a->command = c;
            return EXIT_OK;
        }
    }
    return fail_usage("there is no command \"%s\"; hlfs --help lists them", name);
}

static int command_check(const struct arguments *a)
{
    const struct command *c = a->command;

    for (unsigned i = 0; i < OPTIONS; i++) {
        if (a->value[i] && !(c->options & BIT(i))) {
            return fail_usage("%s has no option --%s; see hlfs %s --help", c->name,
                              rows[i].name, c->name);
        }
    }
    if (a->operand_count < c->operands_min || a->operand_count > c->operands_max) {
        return fail_usage("%s takes %s; see hlfs %s --help", c->name,
                          c->operands[0] ? c->operands : "no operands", c->name);
    }
    return EXIT_OK;
}

/* ---- The library's options ------------------------------------------------ */

static int option_set(struct arguments *a, const char *key, const char *value)
{
    int r = hlfs_options_set(a->options, key, value);

    if (r < 0) {
        (void)fail_library(r, key);
        return EXIT_USAGE;
    }
    return EXIT_OK;
}

const char *arguments_create_option(const struct arguments *a)
{
    const char *name;
    int create;

    for (unsigned i = 0; i < OPTIONS; i++) {
        if (rows[i].library && a->value[i]) {
            return rows[i].name;
        }
    }
    for (unsigned i = 0; (name = hlfs_options_name(i, &create)); i++) {
        size_t len = strlen(name);

        for (unsigned n = 0; create && n < a->set_count; n++) {
            if (strncmp(a->sets[n], name, len) == 0 && a->sets[n][len] == '=') {
                return name;
            }
        }
    }
    return NULL;
}

/* Options of create mean nothing where a volume is there already. */
static int option_check(const struct arguments *a, const char *key)
{
    bool creates = a->command->options & BIT(OPTION_MODE);
    const char *name;
    int create;

    for (unsigned i = 0; (name = hlfs_options_name(i, &create)); i++) {
        if (create && !creates && strcmp(name, key) == 0) {
            return fail_usage("the option %s is chosen when a volume is created, %s has "
                              "no use for it", key, a->command->name);
        }
    }
    return EXIT_OK;
}

static int set_apply(struct arguments *a, const char *set)
{
    const char *value = strchr(set, '=');
    char key[64];
    int status;

    if (!value || value == set || (size_t)(value - set) >= sizeof(key)) {
        return fail_usage("-o takes KEY=VALUE, not \"%s\"", set);
    }
    memcpy(key, set, (size_t)(value - set));
    key[value - set] = '\0';
    status = option_check(a, key);
    return status == EXIT_OK ? option_set(a, key, value + 1) : status;
}

/* Called from any thread. */
static void log_print(void *opaque, int level, const char *text)
{
    if (level <= HLFS_LOG_WARNING) {
        warn("%s", text);
    }
}

static int options_apply(struct arguments *a)
{
    int status = EXIT_OK;

    a->options = hlfs_options_new();
    if (!a->options) {
        return fail("out of memory");
    }
    hlfs_options_set_log(a->options, log_print, NULL);
    for (unsigned i = 0; i < a->set_count && status == EXIT_OK; i++) {
        status = set_apply(a, a->sets[i]);
    }
    for (unsigned i = 0; i < OPTIONS && status == EXIT_OK; i++) {
        if (rows[i].library && a->value[i]) {
            status = option_set(a, rows[i].name, a->value[i]);
        }
    }
    return status;
}

/* ---- The whole ------------------------------------------------------------ */

int arguments_parse(int argc, char **argv, const struct command *commands,
                    struct arguments *a)
{
    int status;

    *a = (struct arguments){ 0 };
    a->operands = calloc((size_t)argc + 1, sizeof(*a->operands));
    a->sets = calloc((size_t)argc + 1, sizeof(*a->sets));
    if (!a->operands || !a->sets) {
        return fail("out of memory");
    }
    status = options_read(argc, argv, a);
    if (status != EXIT_OK) {
        return status;
    }
    if (optind < argc && strcmp(argv[optind], "help") == 0) {
        a->help = true;
        optind++;
    }
    if (optind < argc) {
        status = command_find(commands, argv[optind++], a);
    }
    while (optind < argc) {
        a->operands[a->operand_count++] = argv[optind++];
    }
    if (status != EXIT_OK || a->help || a->version || !a->command) {
        return status;
    }
    status = command_check(a);
    return status == EXIT_OK ? options_apply(a) : status;
}

void arguments_done(struct arguments *a)
{
    hlfs_options_free(a->options);
    free(a->operands);
    free(a->sets);
    *a = (struct arguments){ 0 };
}

/* ---- Help ----------------------------------------------------------------- */

void help_all(const struct command *commands)
{
    printf("usage: hlfs COMMAND [OPERAND]... [OPTION]...\n\n"
           "Virtual disks kept as a log of append-only files.\n\n");
    for (const struct command *c = commands; c->name; c++) {
        char head[64];

        (void)snprintf(head, sizeof(head), "%s %s", c->name, c->operands);
        printf("  %-18s %s\n", head, c->summary);
    }
    printf("\nLOC is local:///dir/name, a path, or hdfs://host[:port]/dir/name.\n"
           "Sizes take K M G T.  hlfs COMMAND --help says more.\n");
}

static void help_option(const char *name, const char *argument, const char *text)
{
    char head[64];

    (void)snprintf(head, sizeof(head), "%s %s", name, argument ? argument : "");
    printf("  %-22s %s\n", head, text);
}

static void help_library_options(bool with_create)
{
    const char *name;
    int create;
    size_t column = 80;

    for (unsigned i = 0; (name = hlfs_options_name(i, &create)); i++) {
        if (create && !with_create) {
            continue;
        }
        if (column + strlen(name) > 76) {
            printf("%s%25s", i ? "\n" : "", "");
            column = 25;
        }
        printf(" %s", name);
        column += 1 + strlen(name);
    }
    printf("\n");
}

void help_command(const struct command *c)
{
    printf("usage: hlfs %s %s [OPTION]...\n\n%s.\n%s%s\n", c->name, c->operands,
           c->summary, c->help ? "\n" : "", c->help ? c->help : "");
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (c->options & BIT(i)) {
            char name[32];

            (void)snprintf(name, sizeof(name), "--%s", rows[i].name);
            help_option(name, rows[i].argument, rows[i].help);
        }
    }
    help_option("-o", "KEY=VALUE", "an option of the library, any number of times:");
    help_library_options(c->options & BIT(OPTION_MODE));
}
