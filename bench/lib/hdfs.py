# SPDX-License-Identifier: LGPL-2.1-or-later
"""HDFS mode: HLFS beside Hadoop's own Java client, on one cluster, in one run.

The cluster is tests/hdfs/cluster's, all of it on this machine: every figure has the
DataNodes' work in it.  Java stays one process (bench/HdfsBench.java), and does what is
measured for some seconds before it counts, as do the daemons.
"""

import json
import os
import statistics
import subprocess
import time

from report import Comparison, Result
from rows import Row, compare, in_turn, rates
from tools import MIB, VOLUME_BYTES, Failed, Sample, Tools

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REPLICATION = 3
JAVA_THREADS = 32
# The daemons of tests start quickly rather than run quickly.
DAEMON_JAVA = "-XX:TieredStopAtLevel=4 -Xmx256m"


class Java:
    """Hadoop's client, in a process that lives as long as the run."""

    def __init__(self, tools, classpath):
        log4j = "-Dlog4j.configuration=file:%s/log4j.properties" % tools.conf
        self.tools = tools
        self.process = tools.start(
            ["java", "-Djava.net.preferIPv4Stack=true", "-Dcluster.log.level=ERROR", log4j,
             "-cp", classpath, os.path.join(ROOT, "bench", "HdfsBench.java")],
            subprocess.PIPE, stdin=subprocess.PIPE)

    def cpu_us(self):
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")

    def ask(self, *command):
        before = self.cpu_us()
        self.process.stdin.write((" ".join(map(str, command)) + "\n").encode())
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed("Hadoop's client ended: %s" % self.tools.log_end())
        answer = json.loads(line)
        answer["cpu_us"] = self.cpu_us() - before
        return answer

    def sample(self, *command):
        answer = self.ask(*command)
        sample = Sample(answer["requests"] / answer["elapsed_s"])
        sample.cpu_us = answer["cpu_us"] / answer["requests"]
        sample.all = answer
        return sample

    def write(self, mib, level):
        sample = self.sample("write", "/java", mib * MIB, REPLICATION, level)
        self.ask("delete", "/java")
        return sample

    def sync(self, count, level):
        return self.sample("sync", "/java", count, REPLICATION, level)

    def read(self, seconds):
        return self.sample("read", "/java-read", JAVA_THREADS, seconds)



class HdfsTools(Tools):
    PROGRAMS = ("java", "mvn")
    MISSING = "openjdk-17-jdk-headless maven"

    def __init__(self, build, directory, quick):
        super().__init__(build, directory, quick)
        self.span = (256 if quick else 1024) * MIB
        self.rounds = 3 if quick else 5
        self.seconds = 2 if quick else 5
        self.warm_up_seconds = 5 if quick else 15
        self.conf = None

    def cluster(self, *argv):
        return self.run(os.path.join(ROOT, "tests", "hdfs", "cluster"),
                        self.path("cluster"), *argv)[0].strip()

    def __enter__(self):
        super().__enter__()
        os.environ["CLUSTER_JAVA"] = DAEMON_JAVA
        os.environ["CLUSTER_LOG"] = "WARN"      # not a line for each read
        try:
            self.cluster("start", "--datanodes", REPLICATION)
            self.uri = self.cluster("uri")
            self.conf = os.environ["HADOOP_CONF_DIR"] = self.cluster("conf")
            self.java = Java(self, self.cluster("classpath"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        try:
            self.cluster("stop")
        finally:
            super().__exit__(*exception)

    def warm_up(self, contenders, seconds=None):
        """Do what is going to be measured, so that Java and the daemons are compiled."""
        end = time.monotonic() + (seconds or self.warm_up_seconds)
        while time.monotonic() < end:
            for measure in contenders.values():
                measure()

    def clear(self):
        self.run(self.hlfs_path, "rm", "--yes", "-o", "force=yes", self.uri + "/volume")

    def machine(self):
        java = subprocess.run(["java", "-version"], stderr=subprocess.PIPE)
        facts = self.machine_facts()
        facts["programs"] = java.stderr.decode().split("\n")[1]
        facts["cluster"] = "Hadoop 3.5.0, 1 NameNode, %d DataNodes on this machine, " \
            "replication %d" % (REPLICATION, REPLICATION)
        return facts

    def volume(self, size=VOLUME_BYTES, fill=None):
        location = self.uri + "/volume"
        self.hlfs("create", location, size, "--replication", REPLICATION)
        self.fill(location, fill)
        return location


def measure(tools, contenders):
    tools.warm_up(contenders)
    return in_turn(tools, contenders)


def result(samples, comparisons):
    ours = samples["hlfs"]
    return Result(comparisons, rss_bytes=max(s.rss_bytes for s in ours),
                  cpu_us=statistics.median(s.cpu_us for s in ours))


def sequential_write(tools, level):
    """As many bytes for both; the time ends with a flush of the same level."""
    volume = tools.volume()
    count = tools.span // MIB
    samples = measure(tools, {
        "hlfs": lambda: tools.bench_span(
            volume, "--io", "write", "--pattern", "seq", "--size", "1M", "--depth", 4,
            "--count", count, "-o", "durability=" + level),
        "java": lambda: tools.java.write(count, level),
    })
    return result(samples, compare(samples, {"java": 1.0}, "MiB/s", 1))


def random_write(tools, level):
    """In MiB/s, against what the cluster takes from Java in sequence."""
    volume = tools.volume(fill="rand")
    count = tools.span // MIB
    samples = measure(tools, {
        "hlfs": lambda: tools.bench_span(
            volume, "--io", "write", "--depth", 32, "--count", count * MIB // 4096,
            "-o", "durability=" + level),
        "java seq": lambda: tools.java.write(count, level),
    })
    ours = rates(samples["hlfs"], MIB / 4096)
    other = rates(samples["java seq"], 1)
    return result(samples, [Comparison("java seq", ours, other, 0.85, "MiB/s")])


def flushed_write(tools, level):
    """Medians: the lower, the better."""
    volume = tools.volume()
    count = 1000 if tools.quick else 3000
    samples = measure(tools, {
        "hlfs": lambda: tools.bench_span(
            volume, "--io", "write", "--flush-every", 1, "--count", count,
            "-o", "durability=" + level),
        "java": lambda: tools.java.sync(count, level),
    })
    tools.java.ask("delete", "/java")
    ours, other = ([s.all["p50_us"] for s in samples[n]] for n in ("hlfs", "java"))
    return result(samples, [Comparison("java", ours, other, 1.1, "us", most=True)])


def random_read(tools):
    volume = tools.volume(fill="rand")
    tools.java.ask("write", "/java-read", tools.span, REPLICATION, "hflush")
    samples = measure(tools, {
        "hlfs": lambda: tools.bench_span(volume, "--io", "read", "--depth", 32,
                                         "--time", tools.seconds),
        "java": lambda: tools.java.read(tools.seconds),
    })
    tools.java.ask("delete", "/java-read")
    return result(samples, compare(samples, {"java": 2.0}, "k/s", 1e3))


ROWS = [
    Row("seqwrite", "1 MiB sequential write, depth 4, hflush at the end",
        sequential_write, "hflush"),
    Row("seqwrite-d", "the same, durable: all on the nodes' disks at the end",
        sequential_write, "hsync"),
    Row("randwrite", "4 KiB random write, depth 32, hflush at the end, against Java's "
        "sequential write", random_write, "hflush"),
    Row("randwrite-d", "the same, durable", random_write, "hsync"),
    Row("hflush", "4 KiB write + hflush, median", flushed_write, "hflush"),
    Row("hsync", "4 KiB write + hsync, median", flushed_write, "hsync"),
    Row("randread", "4 KiB random read, depth 32, against pread on 32 threads",
        random_read),
]
