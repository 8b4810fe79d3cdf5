# SPDX-License-Identifier: LGPL-2.1-or-later
"""nbd-basic.py SOCKET - every request of NBD on an empty volume of 64 MiB with blocks of
4 KiB; see nbd-basic.sh."""

import errno
import random
import sys
import threading

import nbd

SIZE = 64 << 20
rng = random.Random(4711)


def connect():
    h = nbd.NBD()
    h.add_meta_context("base:allocation")
    h.connect_unix(sys.argv[1])
    h.set_strict_mode(0)        # wrong requests are for the server to refuse
    return h


def extents(h, offset, count):
    found = []

    def extent(context, start, entries, error):
        position = start
        for length, flags in zip(entries[0::2], entries[1::2]):
            if found and found[-1][2] == flags:
                found[-1][1] += length
            else:
                found.append([position, length, flags])
            position += length

    while offset < (end := offset + count) and count:
        before = sum(e[1] for e in found)
        h.block_status(count, offset, extent)
        got = sum(e[1] for e in found) - before
        assert got > 0
        offset, count = offset + got, max(0, end - offset - got)
    return found


def expect_error(number, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except nbd.Error as e:
        assert e.errnum == number, "errno %s, not %s" % (e.errnum, number)
    else:
        raise AssertionError("no error")


def check_model(h, model, what):
    step = 32 << 20         # the largest request that the server names
    data = b"".join(bytes(h.pread(step, at)) for at in range(0, SIZE, step))
    assert data == model, "%s: differs at byte %d" % (
        what, next(i for i in range(SIZE) if data[i] != model[i]))


h = connect()
model = bytearray(SIZE)
HOLE = nbd.STATE_HOLE | nbd.STATE_ZERO

print("  an empty volume is one hole")
assert h.get_size() == SIZE
assert extents(h, 0, SIZE) == [[0, SIZE, HOLE]]
check_model(h, model, "empty")

print("  writes at any offset, of any length, with and without FUA")
for length in (1, 511, 512, 4095, 4096, 4097, 65536, 1 << 20, (1 << 20) + 1, 32 << 20):
    for fua in (0, nbd.CMD_FLAG_FUA):
        at = rng.randrange(SIZE - length + 1)
        data = rng.randbytes(length)
        h.pwrite(data, at, fua)
        model[at:at + length] = data
        assert h.pread(length, at) == data
h.flush()
check_model(h, model, "written")

print("  zero and trim, whole blocks and parts")
for _ in range(40):
    length = rng.choice((1, 512, 4096, 5000, 65536, 1000000, 3 << 20))
    at = rng.randrange(SIZE - length + 1)
    kind = rng.randrange(6)
    if kind == 0:
        h.zero(length, at)
    elif kind == 1:
        h.zero(length, at, nbd.CMD_FLAG_NO_HOLE)
    elif kind == 2:
        h.zero(length, at, nbd.CMD_FLAG_FAST_ZERO)
    elif kind == 3:
        h.zero(length, at, nbd.CMD_FLAG_FUA)
    elif kind == 4:
        h.trim(length, at)
    else:
        h.trim(length, at, nbd.CMD_FLAG_FUA)
    model[at:at + length] = bytes(length)
check_model(h, model, "zeroed and trimmed")

print("  extents: what is a hole reads as zeros, and nothing else is called one")
h.zero(SIZE, 0)
model = bytearray(SIZE)
h.pwrite(b"d" * 8192, 1 << 20)
model[1 << 20:(1 << 20) + 8192] = b"d" * 8192
h.pwrite(b"e" * 4096, SIZE - 4096)
model[SIZE - 4096:] = b"e" * 4096
expected = [[0, 1 << 20, HOLE], [1 << 20, 8192, 0],
            [(1 << 20) + 8192, SIZE - (1 << 20) - 8192 - 4096, HOLE], [SIZE - 4096, 4096, 0]]
assert extents(h, 0, SIZE) == expected, extents(h, 0, SIZE)
h.flush()
assert extents(h, 0, SIZE) == expected, extents(h, 0, SIZE)
assert extents(h, (1 << 20) + 4096, 8192) == [[(1 << 20) + 4096, 4096, 0],
                                              [(1 << 20) + 8192, 4096, HOLE]]
h.cache(1 << 20, 1 << 20)
check_model(h, model, "sparse")

print("  requests that are out of range")
for at, length in ((SIZE, 1), (SIZE - 1, 2), (1 << 62, 4096)):
    expect_error(errno.EINVAL, h.pread, length, at)
    expect_error(errno.ENOSPC, h.pwrite, b"x" * length, at)
h.flush()
check_model(h, model, "after refused requests")

print("  several connections: each sees what another was told is written")
handles = [connect() for _ in range(4)]
for i in range(200):
    writer, flusher, reader = rng.sample(handles, 3)
    at = rng.randrange(SIZE // 4096 - 8) * 4096
    data = rng.randbytes(rng.choice((512, 4096, 32768)))
    writer.pwrite(data, at)
    model[at:at + len(data)] = data
    if i % 10 == 0:
        flusher.flush()
    assert reader.pread(len(data), at) == data
check_model(h, model, "written over several connections")

print("  many requests at once from several threads, each in its own part")
errors = []


def worker(number):
    try:
        c = connect()
        local = random.Random(number)
        base, part = number * (SIZE // 8), SIZE // 8
        mine = bytearray(model[base:base + part])
        for _ in range(150):
            length = local.choice((512, 4096, 4096, 20000, 65536))
            at = local.randrange(part - length)
            dice = local.random()
            if dice < 0.5:
                data = local.randbytes(length)
                c.pwrite(data, base + at)
                mine[at:at + length] = data
            elif dice < 0.6:
                c.trim(length, base + at)
                mine[at:at + length] = bytes(length)
            elif dice < 0.65:
                c.flush()
            else:
                assert c.pread(length, base + at) == mine[at:at + length]
        assert c.pread(part, base) == mine
        model[base:base + part] = mine
    except Exception as e:
        errors.append(e)


threads = [threading.Thread(target=worker, args=(n,)) for n in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not errors, errors
check_model(h, model, "written by threads")
h.flush()
for c in handles + [h]:
    c.shutdown()
