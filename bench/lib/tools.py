# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that are compared: to run each, and to make the disks they work on.

Every process is a child of this one and ended by its pid; every file is in one
temporary directory, which goes in the end.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time

GIB = 2**30
MIB = 2**20
VOLUME_BYTES = 16 * GIB     # its segments have 64 MiB then


class Failed(Exception):
    """A sentence for people: why a row has no result."""


class Sample:
    """What one process did: its rate (requests a second) and what it used."""

    def __init__(self, rate, usage=None, requests=0, request_bytes=0):
        self.rate = rate
        self.requests = requests
        self.request_bytes = request_bytes
        if usage:
            self.cpu_us = (usage.ru_utime + usage.ru_stime) * 1e6 / max(requests, 1)
            self.rss_bytes = usage.ru_maxrss * 1024
            self.written_bytes = usage.ru_oublock * 512     # as write_bytes in /proc
            self.read_bytes = usage.ru_inblock * 512

    def check(self, kind):
        """Bytes that reached or left the disk are no fewer than were asked for."""
        moved = self.written_bytes if kind == "write" else self.read_bytes
        if moved < self.requests * self.request_bytes:
            raise Failed("only %d of %d bytes were %s: not a measurement" % (
                moved, self.requests * self.request_bytes,
                "written" if kind == "write" else "read"))


def read_proc(pid, name, key):
    with open("/proc/%d/%s" % (pid, name)) as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    raise Failed("/proc/%d/%s has no %s" % (pid, name, key))


class Server:
    """A process that serves NBD on a Unix socket."""

    def __init__(self, tools, name, argv, socket):
        self.uri = "nbd+unix:///?socket=" + socket
        self.process = tools.start(argv)
        self.pid = self.process.pid
        deadline = time.monotonic() + 30
        while not os.path.exists(socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed("%s does not start: %s" % (name, tools.log_end()))
            time.sleep(0.01)
        self.tools = tools
        self.socket = socket

    def used(self):
        ticks = os.sysconf("SC_CLK_TCK")
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return {"cpu_us": (int(fields[11]) + int(fields[12])) * 1e6 / ticks,
                "written_bytes": read_proc(self.pid, "io", "write_bytes"),
                "read_bytes": read_proc(self.pid, "io", "read_bytes"),
                "rss_bytes": read_proc(self.pid, "status", "VmHWM") * 1024}

    def stop(self):
        self.tools.stop(self.process)
        if os.path.exists(self.socket):
            os.unlink(self.socket)


class Tools:
    PROGRAMS = ("fio", "qemu-img", "qemu-nbd", "nbdkit")
    MISSING = "fio qemu-utils nbdkit"

    def __init__(self, build, directory, quick):
        for program in self.PROGRAMS:
            if not shutil.which(program):
                raise SystemExit("bench/run: %s is missing: apt-get install %s" %
                                 (program, self.MISSING))
        self.hlfs_path = os.path.join(os.path.abspath(build), "cli", "hlfs")
        self.plugin_path = os.path.join(os.path.abspath(build), "nbdkit",
                                        "nbdkit-hlfs-plugin.so")
        self.parent = directory
        self.quick = quick
        # The span that each row works on, the rounds, and the seconds of a sample.
        self.span = (1 if quick else 4) * GIB
        self.rounds = 3 if quick else 5
        self.seconds = 1.5 if quick else 4
        self.children = []

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="hlfs-bench.", dir=self.parent)
        self.log = open(self.path("log"), "w+")
        return self

    def __exit__(self, *exception):
        for process in list(self.children):
            self.stop(process)
        self.log.close()
        shutil.rmtree(self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def clear(self):
        """Between rows: remove the volumes, keep the images."""
        for name in os.listdir(self.dir):
            if os.path.isdir(self.path(name)):
                shutil.rmtree(self.path(name))

    # ---- Processes -------------------------------------------------------------

    def start(self, argv, stdout=None, stdin=subprocess.DEVNULL):
        process = subprocess.Popen([str(a) for a in argv], stdin=stdin,
                                   stdout=stdout or self.log, stderr=self.log)
        self.children.append(process)
        return process

    def stop(self, process, number=signal.SIGTERM):
        if process.returncode is None:
            process.send_signal(number)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.children.remove(process)

    def run(self, *argv):
        """Run to the end; returns what it printed and what it used."""
        process = self.start(argv, subprocess.PIPE)
        text = process.stdout.read().decode()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.children.remove(process)
        if process.returncode != 0:
            raise Failed("%s failed (%d): %s" % (" ".join(map(str, argv[:3])),
                                                 process.returncode, self.log_end()))
        return text, usage

    def log_end(self):
        self.log.flush()
        with open(self.log.name) as f:
            return " ".join(f.read().split("\n")[-4:]).strip()

    def machine(self):
        fio, _ = self.run("fio", "--version")
        qemu, _ = self.run("qemu-img", "--version")
        nbdkit, _ = self.run("nbdkit", "--version")
        facts = self.machine_facts()
        facts["programs"] = "%s, qemu %s, %s" % (fio.strip(), qemu.split()[2],
                                                 nbdkit.strip())
        return facts

    def machine_facts(self):
        with open("/proc/cpuinfo") as f:
            models = re.findall(r"model name\s*: (.*)", f.read())
        fs, _ = self.run("stat", "-f", "-c", "%T", self.dir)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return {
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "cpu": "%d x %s" % (len(models), models[0] if models else platform.machine()),
            "memory": "%.0f GiB" % (memory / GIB),
            "kernel": platform.release(),
            "files": "%s in %s" % (fs.strip(), self.parent),
            "load": "%.2f before the first row" % os.getloadavg()[0],
        }

    # ---- HLFS ------------------------------------------------------------------

    def hlfs(self, *argv):
        return self.run(self.hlfs_path, *argv)[0]

    def volume(self, size=VOLUME_BYTES, fill=None):
        """A new volume; FILL is seq or rand: the order in which its span, where the
        rows work, is written once."""
        path = self.path("volume")
        if os.path.exists(path):
            shutil.rmtree(path)
        self.hlfs("create", path, size)
        self.fill(path, fill)
        return path

    def fill(self, path, fill):
        if fill == "seq":
            self.hlfs("bench", path, "--io", "write", "--pattern", "seq", "--size", "1M",
                      "--depth", 4, "--count", self.span // MIB)
        elif fill == "rand":
            self.hlfs("bench", path, "--io", "write", "--depth", 32, "--seed", 1,
                      "--range", self.span, "--count", self.span // 4096)

    def bench_span(self, volume, *argv):
        return self.bench(volume, "--range", self.span, *argv)

    def bench(self, volume, *argv):
        """hlfs bench; a Sample that also has its other figures, in .all."""
        text, usage = self.run(self.hlfs_path, "bench", volume, "--json", *argv)
        figures = json.loads(text)
        sample = Sample(figures["iops"], usage, figures["requests"],
                        figures["request_bytes"])
        # Of the measured time only: without open and close.
        sample.cpu_us = figures["cpu_us_per_io"]
        sample.written_bytes = figures["written_bytes"]
        sample.read_bytes = figures["read_bytes"]
        sample.all = figures
        return sample

    def remove(self, path):
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)

    def forget(self, path):
        """Of the file PATH, or all below it, nothing stays in the page cache."""
        names = [os.path.join(d, n) for d, _, files in os.walk(path) for n in files]
        for name in names or [path]:
            fd = os.open(name, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def copy(self, source, target, *argv):
        """Run ARGV, which copies the span from SOURCE to a new TARGET, durably: a Sample
        in MiB."""
        self.remove(target)
        self.forget(source)
        start = time.monotonic()
        _, usage = self.run(*argv)
        return Sample(self.span / MIB / (time.monotonic() - start), usage,
                      self.span // MIB, MIB)

    # ---- Others ----------------------------------------------------------------

    def raw(self):
        """The raw file: laid out, and written once."""
        path = self.path("raw")
        if not os.path.exists(path):
            with open(path, "wb") as f:
                os.posix_fallocate(f.fileno(), 0, self.span)
            self.run("fio", "--name=fill", "--filename=" + path, "--rw=write", "--bs=1M",
                     "--ioengine=io_uring", "--iodepth=4", "--direct=1", "--end_fsync=1",
                     "--size=%d" % self.span)
        return path

    def qcow2(self):
        """A qcow2 image with all clusters there and written once."""
        path = self.path("qcow2")
        if not os.path.exists(path):
            self.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-W", "-t", "none",
                     "-T", "none", self.raw(), path)
        return path

    def fio(self, rw, block_bytes, *argv):
        """fio for a sample's time, on the span; with a final flush, which counts."""
        text, usage = self.run(
            "fio", "--name=x", "--rw=" + rw, "--bs=%d" % block_bytes, "--thread",
            "--time_based", "--runtime=%gs" % self.seconds, "--norandommap",
            "--randrepeat=0", "--end_fsync=1", "--group_reporting", "--output-format=json",
            *argv)
        job = json.loads(text[text.index("{"):])["jobs"][0]
        side = job["write" if "write" in rw else "read"]
        return Sample(side["iops"], usage, side["total_ios"], block_bytes)

    def fio_raw(self, rw, block_bytes, *argv):
        return self.fio(rw, block_bytes, "--filename=" + self.raw(), "--direct=1",
                        "--size=%d" % self.span, *argv)

    def fio_nbd(self, rw, server):
        """fio's nbd engine; what is used is the server's."""
        before = server.used()
        sample = self.fio(rw, 4096, "--ioengine=nbd", "--uri=" + server.uri,
                          "--iodepth=32", "--size=%d" % self.span)
        after = server.used()
        sample.cpu_us = (after["cpu_us"] - before["cpu_us"]) / sample.requests
        sample.written_bytes = after["written_bytes"] - before["written_bytes"]
        sample.read_bytes = after["read_bytes"] - before["read_bytes"]
        sample.rss_bytes = after["rss_bytes"]
        return sample

    def qemu_img_bench(self, image, count):
        """Writes in steps of about 0.38 of the span: far apart, each block in turn."""
        step = int(self.span / 4096 * 0.381966) | 1
        while step * 4096 >= 2**31:         # qemu-img takes no longer ones
            step = step // 2 | 1
        text, usage = self.run(
            "qemu-img", "bench", "-w", "--pattern=165", "-t", "none", "-i", "io_uring",
            "-f", "qcow2", "-c", count, "-d", 32, "-s", 4096, "-S", step * 4096, image)
        taken = float(re.search(r"completed in ([0-9.]+) seconds", text).group(1))
        return Sample(count / taken, usage, count, 4096)

    def serve(self, kind, target):
        """An NBD server: of the volume or image TARGET, or of as much memory."""
        socket = self.path("nbd-%s.sock" % kind)
        if kind == "hlfs":
            argv = ["nbdkit", "-f", "-U", socket, self.plugin_path, target]
        elif kind == "memory":
            argv = ["nbdkit", "-f", "-U", socket, "memory", self.span]
        else:
            argv = ["qemu-nbd", "-k", socket, "-f", kind, "--cache=none",
                    "--aio=io_uring", "--persistent", "--shared=4", target]
        return Server(self, kind, argv, socket)
