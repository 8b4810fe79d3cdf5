# SPDX-License-Identifier: LGPL-2.1-or-later
"""A mounted volume as a file: what mount.sh asks of it.

usage: mount.py model FILE SEED OPERATIONS   threads write and read, against a model
       mount.py holes FILE                   SEEK_DATA and SEEK_HOLE tell where data is
       mount.py refused FILE                 what the file does not do, and its end
       mount.py readonly FILE                what a read-only mount refuses
       mount.py durable FILE WAY PID         made durable by WAY; then kill the server
       mount.py durable-check FILE WAY       it is there
       mount.py files DIR LIST               make files, synced, their names to LIST
       mount.py files-check DIR LIST         all that stand in LIST are there
       mount.py churn DIR SEED SECONDS       file operations, against a model
"""
import ctypes
import errno
import os
import random
import sys
import threading
import time

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE = 1, 2, 8, 16
libc = ctypes.CDLL(None, use_errno=True)


def die(text):
    print(text)
    sys.exit(1)


def check(condition, text):
    if not condition:
        die(text)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, ctypes.c_int(mode), ctypes.c_long(offset),
                      ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def expect_errno(code, function, *args):
    try:
        function(*args)
    except OSError as e:
        check(e.errno == code, "%s gave %s, not %s" % (
            function.__name__, errno.errorcode[e.errno], errno.errorcode[code]))
        return
    die("%s%r succeeded, %s was due" % (function.__name__, args[1:], errno.errorcode[code]))


def read_all(fd, length, offset):
    data = b""
    while len(data) < length:
        part = os.pread(fd, length - len(data), offset + len(data))
        check(part, "the file ends at %d" % (offset + len(data)))
        data += part
    return data


# ---- The file --------------------------------------------------------------

class Worker(threading.Thread):
    """Does OPERATIONS at random in [BASE, BASE + LENGTH), with descriptors of its own, and
    knows what has to be there."""

    def __init__(self, path, base, length, seed, operations):
        super().__init__()
        self.path, self.base, self.length = path, base, length
        self.random = random.Random(seed)
        self.operations = operations
        self.model = bytearray(length)
        self.error = None

    def step(self, fd):
        kind = self.random.choice(["write"] * 5 + ["read"] * 5 + ["punch", "zero", "sync"])
        length = self.random.choice([1, 511, 4096, 4097, 65536, 300000, 1 << 20, 2500000])
        length = min(length, self.length)
        at = self.random.randrange(self.length - length + 1)
        if self.random.random() < 0.5:
            at &= ~4095
        place = self.base + at
        if kind == "write":
            data = self.random.randbytes(length)
            done = os.pwrite(fd, data, place)
            check(done == length, "a short write")
            self.model[at:at + length] = data
        elif kind == "read":
            if read_all(fd, length, place) != self.model[at:at + length]:
                raise AssertionError("wrong data in %d+%d" % (place, length))
        elif kind == "sync":
            os.fsync(fd)
        else:
            mode = PUNCH_HOLE | KEEP_SIZE if kind == "punch" else ZERO_RANGE
            fallocate(fd, mode, place, length)
            self.model[at:at + length] = bytes(length)

    def run(self):
        flags = [0, 0, os.O_SYNC, os.O_DSYNC]
        fds = [os.open(self.path, os.O_RDWR | f) for f in flags]
        try:
            fallocate(fds[0], PUNCH_HOLE | KEEP_SIZE, self.base, self.length)
            for _ in range(self.operations):
                self.step(self.random.choice(fds))
        except BaseException as e:
            self.error = e
        for fd in fds:
            os.close(fd)


def model(path, seed, operations):
    size = os.stat(path).st_size
    count = 6
    part = min(size // count, 8 << 20) - 512    # neighbours share a block
    workers = [Worker(path, n * part, part, seed * 100 + n, operations)
               for n in range(count)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    for w in workers:
        check(w.error is None, "seed %d, thread at %d: %r" % (seed, w.base, w.error))
    fd = os.open(path, os.O_RDONLY)
    for w in workers:
        check(read_all(fd, part, w.base) == w.model, "seed %d: part at %d differs in the end"
              % (seed, w.base))
    os.close(fd)


def holes(path):
    size = os.stat(path).st_size
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, size)
    check(os.lseek(fd, 0, os.SEEK_HOLE) == 0, "an empty file does not begin with a hole")
    expect_errno(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
    # One stretch longer than the library looks at in a call, one short one.
    data = [(1 << 20, 40 << 20), (60 << 20, 65536)]
    for at, length in data:
        for n in range(0, length, 1 << 20):
            os.pwrite(fd, b"x" * min(length - n, 1 << 20), at + n)
    found, at = [], 0
    while True:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            check(e.errno == errno.ENXIO, "SEEK_DATA: %r" % e)
            break
        end = os.lseek(fd, at, os.SEEK_HOLE)
        found.append((at, end - at))
        at = end
    check(found == data, "data found at %r, not %r" % (found, data))
    check(os.lseek(fd, size - 1, os.SEEK_HOLE) == size - 1, "no hole in the last byte")
    expect_errno(errno.ENXIO, os.lseek, fd, size, os.SEEK_HOLE)
    # Parts of blocks and across the end.
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, (1 << 20) + 100, 10000)
    check(read_all(fd, 10200, 1 << 20) == b"x" * 100 + bytes(10000) + b"x" * 100,
          "a hole in the middle of blocks")
    os.pwrite(fd, b"x" * 8192, size - 8192)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, size - 4096, 1 << 30)
    check(read_all(fd, 8192, size - 8192) == b"x" * 4096 + bytes(4096), "a hole over the end")
    os.close(fd)


def refused(path):
    size = os.stat(path).st_size
    check(os.pathconf(path, "PC_NAME_MAX") > 0, "statfs")
    fd = os.open(path, os.O_RDWR)
    expect_errno(errno.EOPNOTSUPP, os.open, path, os.O_RDWR | os.O_TRUNC)
    expect_errno(errno.EOPNOTSUPP, os.ftruncate, fd, size - 512)
    expect_errno(errno.EOPNOTSUPP, os.ftruncate, fd, size + 512)
    os.ftruncate(fd, size)
    fallocate(fd, 0, 0, size)
    expect_errno(errno.ENOSPC, fallocate, fd, 0, 0, size + 1)
    expect_errno(errno.EOPNOTSUPP, fallocate, fd, COLLAPSE, 0, 4096)
    expect_errno(errno.ENOSPC, fallocate, fd, ZERO_RANGE, size - 4096, 8192)
    expect_errno(errno.ENOSPC, os.pwrite, fd, b"x", size)
    check(os.pwrite(fd, b"y" * 8192, size - 4096) == 4096, "a write over the end")
    check(os.pread(fd, 8192, size - 4096) == b"y" * 4096, "a read over the end")
    check(os.pread(fd, 1, size) == b"", "a read behind the end")
    check(os.stat(path).st_size == size, "the size has changed")
    os.close(fd)


def readonly(path):
    st = os.stat(path)
    check(st.st_mode & 0o7777 == 0o400, "its mode is %o" % st.st_mode)
    expect_errno(errno.EROFS, os.open, path, os.O_RDWR)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    read_all(fd, 1 << 20, 0)
    os.close(fd)


def way_content(way):
    return way.encode() * 1000


def durable(path, way, pid):
    """Nothing else is there that would make it durable before PID, its server, dies."""
    fd = os.open(path, os.O_RDWR | (getattr(os, way) if way.startswith("O_") else 0))
    os.pwrite(fd, way_content(way), 1 << 20)
    if way == "close":
        os.close(fd)
    elif way.startswith("f"):
        getattr(os, way)(fd)
    os.kill(pid, 9)


def durable_check(path, way):
    fd = os.open(path, os.O_RDONLY)
    check(read_all(fd, len(way_content(way)), 1 << 20) == way_content(way),
          "not durable by " + way)
    os.close(fd)


# ---- A file system on it ---------------------------------------------------

def content(number):
    return random.Random(number).randbytes(1 + number * 7919 % 200000)


def files(directory, list_path):
    """Until the disk fails, or for a minute."""
    end = time.monotonic() + 60
    parent = os.open(directory, os.O_RDONLY)
    with open(list_path, "w") as out:
        number = 0
        while time.monotonic() < end:
            try:
                fd = os.open("%s/%d" % (directory, number), os.O_WRONLY | os.O_CREAT)
                os.write(fd, content(number))
                os.fsync(fd)
                os.close(fd)
                os.fsync(parent)
            except OSError:
                return
            print(number, file=out, flush=True)
            number += 1


def files_check(directory, list_path):
    with open(list_path) as f:
        numbers = [int(line) for line in f]
    check(numbers, "nothing was written before the end")
    for number in numbers:
        with open("%s/%d" % (directory, number), "rb") as f:
            check(f.read() == content(number), "file %d, synced, is not as written" % number)
    print("%d synced files" % len(numbers))


def churn(directory, seed, seconds):
    """Make, append, overwrite, rename, link, truncate, remove; each file has what it should."""
    rng = random.Random(seed)
    have, made = {}, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind = rng.choice(["make"] * 3 + ["append", "over", "rename", "truncate", "remove",
                                          "read", "read", "sync"])
        name = rng.choice(sorted(have)) if have else None
        path = "%s/%s" % (directory, name)
        if kind == "make" and sum(map(len, have.values())) < 200 << 20:
            name, made = "f%d" % made, made + 1
            have[name] = bytearray(rng.randbytes(rng.randrange(1 << 20)))
            with open("%s/%s" % (directory, name), "wb") as f:
                f.write(have[name])
        elif name is None or kind == "make":
            kind = "remove"
        if kind == "append":
            more = rng.randbytes(rng.randrange(1 << 16))
            with open(path, "ab") as f:
                f.write(more)
            have[name] += more
        elif kind == "over" and have[name]:
            at = rng.randrange(len(have[name]))
            more = rng.randbytes(rng.randrange(1 << 16))
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(more)
                os.fsync(f.fileno())
            have[name][at:at + len(more)] = more
        elif kind == "rename":
            new, made = "r%d" % made, made + 1
            os.rename(path, "%s/%s" % (directory, new))
            have[new] = have.pop(name)
        elif kind == "truncate":
            length = rng.randrange(len(have[name]) + 4096)
            os.truncate(path, length)
            have[name] = (have[name] + bytes(4096))[:length]
        elif kind == "remove" and name is not None:
            os.remove(path)
            del have[name]
        elif kind == "read":
            with open(path, "rb") as f:
                check(f.read() == have[name], "seed %d: %s differs" % (seed, name))
        elif kind == "sync":
            os.sync()
    # From the disk, not from the page cache.
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1\n")
    check(sorted(os.listdir(directory)) == sorted(have), "seed %d: other files" % seed)
    for name in have:
        with open("%s/%s" % (directory, name), "rb") as f:
            check(f.read() == have[name], "seed %d: %s differs in the end" % (seed, name))


def main(argv):
    command, args = argv[1], argv[2:]
    if command == "model":
        model(args[0], int(args[1]), int(args[2]))
    elif command == "holes":
        holes(args[0])
    elif command == "refused":
        refused(args[0])
    elif command == "readonly":
        readonly(args[0])
    elif command == "durable":
        durable(args[0], args[1], int(args[2]))
    elif command == "durable-check":
        durable_check(*args)
    elif command == "files":
        files(*args)
    elif command == "files-check":
        files_check(*args)
    elif command == "churn":
        churn(args[0], int(args[1]), int(args[2]))
    else:
        die(__doc__)


main(sys.argv)
