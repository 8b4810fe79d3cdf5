# SPDX-License-Identifier: LGPL-2.1-or-later
"""tmpfs-full.py SOCKET fill|again - see tmpfs-full.sh.

Chunk number N holds bytes of random.Random(N).  fill writes chunks until there is no
room, frees most of them and writes others; again finds what fill left, and can fill and
free once more.
"""

import errno
import random
import sys
import time

import nbd

CHUNK = 1 << 20
KEPT = 8            # chunks 0 to 7 are never freed


def content(number):
    return random.Random(number).randbytes(CHUNK)


def connect():
    h = nbd.NBD()
    h.connect_unix(sys.argv[1])
    return h


def full(h, action):
    """Whether ACTION met ENOSPC; any other error is one."""
    try:
        action()
        return False
    except nbd.Error as e:
        assert e.errnum == errno.ENOSPC, "errno %s" % e.errnum
        return True


def write_chunk(h, number, patience_s):
    """False: no room came in that time; it comes back in the background."""
    end = time.monotonic() + patience_s
    while full(h, lambda: h.pwrite(content(number), number * CHUNK)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def fill(h, first):
    """Write chunks from FIRST on until ENOSPC; returns those that were answered."""
    written = []
    for number in range(first, h.get_size() // CHUNK):
        if not write_chunk(h, number, 3):
            break
        written.append(number)
        if number % 8 == 7 and full(h, h.flush):
            break
    else:
        raise AssertionError("the store took everything")
    return written


def check(h, numbers):
    for number in numbers:
        assert h.pread(CHUNK, number * CHUNK) == content(number), "chunk %d" % number


def free_and_write(h, written):
    """Discarding makes room without a restart; the flush that failed succeeds then."""
    for number in written:
        if number >= KEPT:
            h.trim(CHUNK, number * CHUNK)
    h.flush()
    again = [n for n in written if n >= KEPT][:8]
    for number in again:
        assert write_chunk(h, number, 10), "no room comes back"
    h.flush()
    check(h, list(range(KEPT)) + again)


def main():
    h = connect()
    if sys.argv[2] == "fill":
        written = fill(h, 0)
    else:
        check(h, range(KEPT))
        written = list(range(KEPT)) + fill(h, KEPT)
    print("  %d MiB were taken" % len(written))
    assert len(written) > 40, "the store was full very soon"
    check(h, written)
    free_and_write(h, written)
    h.shutdown()


main()
