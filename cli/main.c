/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hlfs(1) - make, look at, serve and measure volumes.
 *
 * This file has the table of commands; each is a function in the file of its family.
 * Exit status: 0, 1 (it failed), 2 (the command line is wrong).
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command commands[] = {
    { "create", "LOC SIZE", 2, 2,
      BIT(OPTION_BLOCK_SIZE) | BIT(OPTION_SEGMENT_SIZE) | BIT(OPTION_COMPRESSION) |
      BIT(OPTION_REPLICATION) | BIT(OPTION_KEEP) | BIT(OPTION_MODE) |
      BIT(OPTION_CLONABLE_BY) | BIT(OPTION_FORCE),
      "Make a volume of SIZE bytes, all zeros",
      "An existing volume at LOC is refused; with --force it is removed first, unless\n"
      "a writer holds it.\n", create_run },
    { "ls", "DIR", 1, 1, BIT(OPTION_JSON),
      "List the volumes in a directory", NULL, ls_run },
    { "info", "LOC", 1, 1, BIT(OPTION_JSON),
      "Say what a volume is, and who holds it", NULL, info_run },
    { "rm", "LOC", 1, 1, BIT(OPTION_YES),
      "Remove a volume with everything in it",
      "Refused while a writer lives.  A half-made or unreadable volume, or one of\n"
      "another format version, goes with -o force=yes.\n", rm_run },
    { "mv", "LOC NEWLOC", 2, 2, BIT(OPTION_FORCE),
      "Give a volume another place in the same file system",
      "Refused while a writer lives.  An existing volume at NEWLOC is refused; with --force\n"
      "it is removed first, unless a writer holds it.\n", mv_run },
    { "resize", "LOC SIZE", 2, 2, BIT(OPTION_SHRINK),
      "Give a volume another size, also while it is used",
      "What is added reads as zeros.  A holder on this machine with a control socket\n"
      "(hlfs serve and hlfs mount have one) does it; other programs that use the volume\n"
      "must be told of the new size by their own means.\n", resize_run },
    { "import", "FILE LOC", 2, 2,
      BIT(OPTION_SIZE) | BIT(OPTION_BLOCK_SIZE) | BIT(OPTION_SEGMENT_SIZE) |
      BIT(OPTION_COMPRESSION) | BIT(OPTION_REPLICATION) | BIT(OPTION_KEEP) |
      BIT(OPTION_MODE) | BIT(OPTION_CLONABLE_BY),
      "Make a volume of a raw image, or overwrite one of the same size",
      "FILE is a file, a block device, or - for a pipe, which needs --size where LOC is\n"
      "not there yet, and must have as many bytes.  A file may have fewer than --size\n"
      "says; zeros follow.  An import that does not come to its end leaves a volume that\n"
      "is marked as unfinished: import again, or remove it.\n", import_run },
    { "export", "LOC FILE", 2, 2, BIT(OPTION_FORCE) | BIT(OPTION_RESCUE),
      "Write a volume's content as a raw image",
      "FILE is - for a pipe.  A file appears when it is complete; holes are kept.  One\n"
      "that exists is refused, and a block device, unless --force is given.  With\n"
      "--rescue each range that is lost is said on stderr, as \"lost: OFFSET LENGTH\",\n"
      "and has zeros in FILE; exit status 1 if there is any.\n", export_run },
    { "serve", "LOC|DIR", 1, 1,
      BIT(OPTION_SOCKET) | BIT(OPTION_PORT) | BIT(OPTION_READ_ONLY),
      "Serve a volume, or each of a directory, over NBD",
      "Runs nbdkit in the foreground; end it by SIGTERM or Ctrl-C.\n", serve_run },
    { "mount", "LOC FILE", 2, 2,
      BIT(OPTION_READ_ONLY) | BIT(OPTION_FOREGROUND) | BIT(OPTION_ALLOW_OTHER),
      "Mount a volume, or a snapshot, as one file",
      "FILE is a regular file, which the volume hides while it is mounted; it is made if\n"
      "it is not there.  Returns when the mount works; a process in the background serves\n"
      "it, and logs to syslog.  SIGTERM ends that process as hlfs umount does.\n",
      mount_run },
    { "umount", "FILE", 1, 1, 0,
      "Unmount what hlfs mount has mounted",
      "Returns when everything is durable and the volume is free.\n", umount_run },
    { "set", "LOC KEY=VALUE", 2, 2, 0,
      "Change a property of a volume, also while it is used",
      "replication=N: how many copies HDFS keeps of each segment, of those that are there,\n"
      "too.  compression, keep, keep-bytes, ratio and parent are for later versions.\n",
      set_run },
    { "stat", "LOC", 1, 1,
      BIT(OPTION_JSON) | BIT(OPTION_WATCH) | BIT(OPTION_INTERVAL),
      "Show what the process that holds a volume does with it",
      "Asks it by its control socket, so it must run on this machine, and as this user\n"
      "unless root asks.  Latencies are of the last 10 to 20 seconds.  With --json there is\n"
      "one object a line.\n", stat_run },
    { "bench", "LOC", 1, 1,
      BIT(OPTION_IO) | BIT(OPTION_PATTERN) | BIT(OPTION_SIZE) | BIT(OPTION_DEPTH) |
      BIT(OPTION_FLUSH_EVERY) | BIT(OPTION_THREADS) | BIT(OPTION_RANGE) |
      BIT(OPTION_TIME) | BIT(OPTION_COUNT) | BIT(OPTION_VERIFY) | BIT(OPTION_SEED) |
      BIT(OPTION_WARM_POOL) | BIT(OPTION_JSON),
      "Measure a volume; writing overwrites its data",
      "Data is incompressible and differs in every block.  The time ends with a final\n"
      "flush.  At depth 1 the synchronous calls are used, else a queue per thread.  A\n"
      "write that a flush follows (--flush-every) lasts until that flush is answered.\n"
      "CPU is the whole process's, written_bytes are those of /proc/self/io,\n"
      "rss_bytes is the highest since the process began and has buffer_bytes, bench's\n"
      "own buffers, in it.\n"
      "With --verify each thread writes in a part of its own, and bench needs 4 bytes\n"
      "for each block of the range.  With --seed N order and data follow from N:\n"
      "where --io write --seed N --count C has written, --io read --seed N --count C\n"
      "compares, at any time and with no memory; range, request size and pattern are\n"
      "the same.\n",
      bench_run },
    { "check", "LOC", 1, 1, BIT(OPTION_DATA) | BIT(OPTION_JSON),
      "Look for every inconsistency of a volume; changes nothing",
      "Exit status 1 if something is lost.\n", check_run },
    { "dump", "LOC", 1, 1, 0,
      "Print what a volume's log holds, for people", NULL, dump_run },
    { 0 },
};

/* What is printed is the result: a full disk at its end is a failure. */
static int output_end(int status)
{
    if ((fflush(stdout) == EOF || ferror(stdout)) && status == EXIT_OK) {
        return fail("cannot write the output: %s", strerror(errno));
    }
    return status;
}

static int run(const struct arguments *a)
{
    if (a->version) {
        printf("hlfs %s\n", hlfs_version());
        return EXIT_OK;
    }
    if (a->help) {
        if (a->command) {
            help_command(a->command);
        } else {
            help_all(commands);
        }
        return EXIT_OK;
    }
    if (!a->command) {
        return fail_usage("a command is missing; hlfs --help lists them");
    }
    return a->command->run(a);
}

/* A descriptor of ours or of the library would take the place of one that was closed, and
 * get the output.  Who reads or writes there still hears that it is not open. */
static void descriptors_hold(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

int main(int argc, char **argv)
{
    struct arguments a;
    int status;

    descriptors_hold();
    status = arguments_parse(argc, argv, commands, &a);

    if (status == EXIT_OK) {
        status = output_end(run(&a));
    }
    arguments_done(&a);
    return status;
}
