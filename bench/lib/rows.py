# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows: what is measured, against what, and the goal of each (docs/design.md)."""

import random
import signal
import statistics
import time

from report import Comparison, Result
from tools import GIB, MIB, VOLUME_BYTES, Failed, read_proc

REOPEN_BYTES = 16 * GIB
HUGE_BYTES = 16 * 2**40
HUGE_BLOCKS = 8_000_000


class Row:
    """LONG ones run only when named, SLOW ones not with --quick either."""

    def __init__(self, name, title, function, *arguments, slow=False, long=False):
        self.name = name
        self.title = title
        self.function = function
        self.arguments = arguments
        self.slow = slow
        self.long = long

    def run(self, tools):
        return self.function(tools, *self.arguments)


def in_turn(tools, contenders):
    """A B A B: each contender once a round.  {name: [sample of each round]}."""
    samples = {name: [] for name in contenders}
    for _ in range(tools.rounds):
        for name, measure in contenders.items():
            samples[name].append(measure())
    return samples


def rates(samples, scale):
    return [s.rate / scale for s in samples]


def compare(samples, goals, unit, scale):
    """HLFS's rates against those of each contender that has a goal."""
    ours = rates(samples["hlfs"], scale)
    return [Comparison(name, ours, rates(samples[name], scale), goal, unit,
                       cpu_us=statistics.median(s.cpu_us for s in samples[name]))
            for name, goal in goals.items()]


def result_of(samples, comparisons, kind, **more):
    ours = samples["hlfs"]
    for s in ours:
        s.check(kind)
    asked = sum(s.requests * s.request_bytes for s in ours)
    written = sum(s.written_bytes for s in ours)
    return Result(comparisons, rss_bytes=max(s.rss_bytes for s in ours),
                  cpu_us=statistics.median(s.cpu_us for s in ours),
                  written_ratio=written / asked if kind == "write" else None, **more)


# ---- The library -----------------------------------------------------------------

def random_write(tools):
    """A volume that was written once, as the raw file and the qcow2 image were."""
    volume = tools.volume(fill="rand")
    image = tools.qcow2()
    blocks = (1 if tools.quick else 2) * GIB // 4096    # 64 MiB of dirty data, 16 times
    samples = in_turn(tools, {
        "hlfs": lambda: tools.bench_span(volume, "--io", "write", "--depth", 32,
                                         "--count", blocks),
        "raw": lambda: tools.fio_raw("randwrite", 4096, "--ioengine=io_uring",
                                     "--iodepth=32"),
        "qcow2": lambda: tools.qemu_img_bench(image, int(40000 * tools.seconds)),
    })
    comparisons = compare(samples, {"raw": 4.0, "qcow2": 4.0}, "k/s", 1e3)
    cpu = [s.cpu_us for s in samples["hlfs"]]
    comparisons.append(Comparison("CPU", cpu, None, 3.0, "us", most=True))
    return result_of(samples, comparisons, "write")


def flushed_write(tools, threads, depth, goal):
    """Each run begins with a full pool of spare files, and stays within it.  THREADS
    writers, or as many requests as DEPTH in one queue, which write and flush alike."""
    volume = tools.volume()
    samples = in_turn(tools, {
        "hlfs": lambda: tools.bench_span(
            volume, "--io", "write", "--threads", threads, "--depth", depth,
            "--flush-every", 1, "--time", tools.seconds, "--warm-pool"),
        "raw": lambda: tools.fio_raw("randwrite", 4096, "--ioengine=psync",
                                     "--fdatasync=1", "--numjobs=%d" % (threads * depth)),
    })
    pool = 8 * VOLUME_BYTES // 256
    notes = ["a run wrote %d MiB, more than the pool's %d" % (s.written_bytes / MIB,
                                                              pool / MIB)
             for s in samples["hlfs"] if s.written_bytes > pool]
    return result_of(samples, compare(samples, {"raw": goal}, "k/s", 1e3), "write",
                     notes=notes[:1])


def random_read(tools, depth, goal):
    volume = tools.volume(fill="rand")
    samples = in_turn(tools, {
        "hlfs": lambda: tools.bench_span(volume, "--io", "read", "--depth", depth,
                                         "--time", tools.seconds),
        "raw": lambda: tools.fio_raw("randread", 4096, "--ioengine=io_uring",
                                     "--iodepth=%d" % depth),
    })
    return result_of(samples, compare(samples, {"raw": goal}, "k/s", 1e3), "read")


def sequential(tools, kind, depth):
    volume = tools.volume(fill="seq")
    samples = in_turn(tools, {
        "hlfs": lambda: tools.bench_span(volume, "--io", kind, "--pattern", "seq",
                                         "--size", "1M", "--depth", depth,
                                         "--time", tools.seconds),
        "raw": lambda: tools.fio_raw(kind, MIB, "--ioengine=io_uring",
                                     "--iodepth=%d" % depth),
    })
    return result_of(samples, compare(samples, {"raw": 0.9}, "MiB/s", 1), kind)


def image(tools, kind):
    """A raw image to a volume, or back, beside dd of the same image; the source is not in
    the page cache, and the target is durable in the end."""
    raw, volume, copy = tools.raw(), tools.path("volume"), tools.path("copy")
    ours = ("import", raw, volume) if kind == "import" else ("export", volume, copy)
    source, target = ours[1:]
    if kind == "export":
        tools.hlfs("import", raw, volume)
    try:
        samples = in_turn(tools, {
            "hlfs": lambda: tools.copy(source, target, tools.hlfs_path, *ours),
            "dd": lambda: tools.copy(raw, copy, "dd", "if=" + raw, "of=" + copy, "bs=1M",
                                     "conv=fsync", "status=none"),
        })
    finally:
        tools.remove(copy)
    return result_of(samples, compare(samples, {"dd": 0.8}, "MiB/s", 1), "write")


# ---- Over NBD --------------------------------------------------------------------

def over_nbd(tools, kind, goal):
    """HLFS's server lives for a sample only: idle, it would lay out spare files."""
    volume = tools.volume(fill="rand")
    raw, qcow2 = tools.raw(), tools.qcow2()     # before a server locks the raw file
    servers = {"qemu raw": tools.serve("raw", raw),
               "qemu qcow2": tools.serve("qcow2", qcow2),
               "memory": tools.serve("memory", None)}
    rw = "rand" + kind

    def hlfs():
        server = tools.serve("hlfs", volume)
        try:
            return tools.fio_nbd(rw, server)
        finally:
            server.stop()

    try:
        # Memory that was never written is neither there nor read.
        tools.fio("write", MIB, "--ioengine=nbd", "--uri=" + servers["memory"].uri,
                  "--iodepth=4", "--size=%d" % tools.span)
        contenders = {"hlfs": hlfs}
        for name, server in servers.items():
            contenders[name] = lambda server=server: tools.fio_nbd(rw, server)
        samples = in_turn(tools, contenders)
    finally:
        for server in servers.values():
            server.stop()
    goals = {"qemu raw": goal, "qemu qcow2": goal, "memory": 0.8}
    return result_of(samples, compare(samples, goals, "k/s", 1e3), kind)


# ---- Opening, memory -------------------------------------------------------------

def killed_while_writing(tools, volume, until_bytes):
    """Write at random and kill -9 the writer when it has written that much."""
    process = tools.start([tools.hlfs_path, "bench", volume, "--io", "write",
                           "--depth", 32, "--time", 3600])
    try:
        while read_proc(process.pid, "io", "write_bytes") < until_bytes:
            if process.poll() is not None:
                raise Failed("the writer ended by itself (%d): %s" % (
                    process.returncode, tools.log_end()))
            time.sleep(0.02)
    finally:
        tools.stop(process, signal.SIGKILL)


def reopen(tools):
    """Killed after 16 GiB, then again after a little more: at other moments between
    two checkpoints."""
    volume = tools.volume()
    times, memory = [], 0
    for number in range(tools.rounds):
        killed_while_writing(tools, volume, REOPEN_BYTES if number == 0 else
                             random.randrange(MIB, GIB))
        sample = tools.bench(volume, "--io", "write", "--count", 1)
        times.append(sample.all["open_us"] / 1e6)
        memory = max(memory, sample.rss_bytes)
    return Result([Comparison("time", times, None, 1.0, "s", most=True)],
                  rss_bytes=memory)


def huge(tools):
    """As many blocks as HUGE_BLOCKS, each written once, all over 16 TiB; read back by
    another process, each compared, and opened for writing once more."""
    volume = tools.volume(HUGE_BYTES)
    seeded = ["--seed", 1, "--depth", 32, "--count", HUGE_BLOCKS]
    written = tools.bench(volume, "--io", "write", *seeded)
    read = tools.bench(volume, "--io", "read", *seeded)
    again = tools.bench(volume, "--io", "write", "--depth", 32,
                        "--count", HUGE_BLOCKS // 8)
    memory = [[s.rss_bytes / MIB] for s in (written, read, again)]
    names = ("written", "read back", "reopened")
    return Result([Comparison(n, m, None, 256, "MiB", most=True)
                   for n, m in zip(names, memory)],
                  rss_bytes=written.rss_bytes, cpu_us=written.cpu_us,
                  written_ratio=written.written_bytes / (HUGE_BLOCKS * 4096),
                  notes=["all %d blocks are as written; %.0f writes/s, %.0f reads/s" %
                         (read.requests, written.rate, read.rate)])


ROWS = [
    Row("randwrite", "4 KiB random write, depth 32, no flush", random_write),
    Row("flush-1", "4 KiB random write, flush after each, 1 writer",
        flushed_write, 1, 1, 1.0),
    Row("flush-32", "4 KiB random write, flush after each, 32 writers in one queue",
        flushed_write, 1, 32, 4.0),
    Row("flush-32t", "4 KiB random write, flush after each, 32 threads",
        flushed_write, 32, 1, 4.0),
    Row("randread-32", "4 KiB random read, depth 32", random_read, 32, 0.95),
    Row("randread-1", "4 KiB random read, depth 1", random_read, 1, 0.9),
    Row("seqwrite-4", "1 MiB sequential write, depth 4", sequential, "write", 4),
    Row("seqwrite-1", "1 MiB sequential write, depth 1", sequential, "write", 1),
    Row("seqread-4", "1 MiB sequential read, depth 4", sequential, "read", 4),
    Row("seqread-1", "1 MiB sequential read, depth 1", sequential, "read", 1),
    Row("import", "import of a raw image, beside dd bs=1M conv=fsync", image, "import"),
    Row("export", "export to a raw image, beside dd bs=1M conv=fsync", image, "export"),
    Row("nbd-write", "4 KiB random write over NBD, depth 32", over_nbd, "write", 2.5),
    Row("nbd-read", "4 KiB random read over NBD, depth 32", over_nbd, "read", 1.2),
    Row("reopen", "open after kill -9 with 16 GiB written", reopen, slow=True),
    Row("huge", "memory: 8 million random blocks of 16 TiB; long", huge, long=True),
]
