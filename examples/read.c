/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * read - print bytes of a volume to stdout, with the synchronous calls.
 *
 *   read LOC [OFFSET [LEN]]        default: the first 512 bytes
 *
 * The volume is opened read-only: nothing is written, nothing is held, and a writer
 * that has it open is not disturbed.  What is read is its state as of the open.
 */
#include <hlfs.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (1 << 20)

static int copy_out(struct hlfs *v, uint64_t offset, uint64_t len)
{
    static char buf[CHUNK];

    while (len > 0) {
        size_t n = len < CHUNK ? (size_t)len : CHUNK;
        int r = hlfs_pread(v, buf, n, offset);

        if (r < 0) {    /* a data call gives a code, no sentence */
            fprintf(stderr, "read: at byte %llu: %s\n", (unsigned long long)offset,
                    strerror(-r));
            return 1;
        }
        if (fwrite(buf, 1, n, stdout) != n) {
            fprintf(stderr, "read: cannot write the output: %s\n", strerror(errno));
            return 1;
        }
        offset += n;
        len -= n;
    }
    return fflush(stdout) == EOF;
}

int main(int argc, char **argv)
{
    uint64_t offset, len, size;
    struct hlfs *v;
    int status;

    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: read LOC [OFFSET [LEN]]\n");
        return 2;
    }
    offset = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
    len = argc > 3 ? strtoull(argv[3], NULL, 0) : 512;

    if (hlfs_open(argv[1], NULL, HLFS_RDONLY, NULL, &v) < 0) {
        fprintf(stderr, "read: %s\n", hlfs_error());
        return 1;
    }
    size = hlfs_size(v);
    if (offset > size) {
        offset = size;
    }
    if (len > size - offset) {
        len = size - offset;
    }
    status = copy_out(v, offset, len);
    (void)hlfs_close(v);    /* nothing was written: it cannot fail to flush */
    return status;
}
