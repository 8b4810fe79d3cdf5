# SPDX-License-Identifier: LGPL-2.1-or-later
"""A writer over NBD that knows what a volume may hold after a crash.

The disk is seen as units of 512 bytes.  Request number SEQ fills each unit that it
covers with (SEQ, unit) over and over, so every byte of a unit tells which request it
came from.  Requests that overlap are never in flight together; all others are, over
several connections.

Time is a counter that steps at each submission and each answer.  What is checked is the
first promise: there is one order of all requests in which a request answered before
another was submitted comes first, and the content is the state after a prefix of it
which has everything answered before the last answered flush was submitted.  Hence with

    T = the latest submission among answered flushes, answered FUA requests, and all
        requests that something is left of,

every request answered before T is there, or a later one in its place.  And a request is
there whole or not at all.
"""

import os
import select
import signal
import struct
import subprocess
import time

import nbd

UNIT = 512
ZERO_UNIT = bytes(UNIT)


class Wrong(Exception):
    """The volume holds what it may not hold."""


def unit_bytes(seq, unit):
    return struct.pack("<QQ", seq, unit) * (UNIT // 16) if seq else ZERO_UNIT


class Request:
    def __init__(self, seq, kind, first, count, fua, submitted):
        self.seq = seq              # what it leaves in its units; 0 for zero and trim
        self.kind = kind            # write, zero, trim, read
        self.first = first          # unit
        self.count = count          # units
        self.fua = fua
        self.submitted = submitted
        self.answered = None        # stays None if it failed, or was never answered
        self.buffer = None

    def units(self):
        return range(self.first, self.first + self.count)

    def overlaps(self, first, count):
        return self.first < first + count and first < self.first + self.count

    def __str__(self):
        return "%s #%d of units %d+%d submitted at %s, answered at %s%s" % (
            self.kind, self.seq, self.first, self.count, self.submitted, self.answered,
            " (FUA)" if self.fua else "")


class Model:
    """What was asked of a disk of UNITS units since its content was last looked at."""

    def __init__(self, units):
        self.units = units
        self.seq = 0
        self.clock = 0
        self.base = [0] * units         # seq of each unit when last looked at
        self.forget()

    def forget(self):
        """The disk holds BASE and nothing was asked."""
        self.requests = []
        self.flushed = -1               # submission of the latest answered flush
        self.now = list(self.base)      # seq when all is answered; None: not known

    def tick(self):
        self.clock += 1
        return self.clock

    def add(self, kind, first, count, fua):
        if kind == "write":
            self.seq += 1
        seq = self.seq if kind == "write" else 0
        request = Request(seq, kind, first, count, fua, self.tick())
        if kind != "read":
            self.requests.append(request)
            for unit in request.units():
                self.now[unit] = request.seq
        return request

    def answer(self, request, error):
        if error:
            for unit in request.units():
                self.now[unit] = None
            return
        request.answered = self.tick()

    def check_read(self, request, data):
        for unit in request.units():
            at = (unit - request.first) * UNIT
            seq = self.now[unit]
            if seq is not None and data[at:at + UNIT] != unit_bytes(seq, unit):
                raise Wrong("unit %d reads as %r, not as request #%d left it" %
                            (unit, data[at:at + 16], seq))

    def check_after_crash(self, data):
        """DATA is the whole disk.  Raises Wrong, or takes it as the new base."""
        seen = self.decode(data)
        steps = self.history()
        low, high = [], []
        for unit in range(self.units):
            match = [i for i, r in enumerate(steps[unit])
                     if (self.base[unit] if r is None else r.seq) == seen[unit]]
            if not match:
                raise Wrong("unit %d holds #%d, which never was there; it had #%d, then %s" %
                            (unit, seen[unit], self.base[unit],
                             [str(r) for r in steps[unit] if r]))
            low.append(match[0])
            high.append(match[-1])
        self.check_prefix(steps, seen, low, high)
        self.check_whole(steps, seen, high)
        self.base = seen
        self.forget()

    def decode(self, data):
        seen = []
        for unit in range(self.units):
            content = data[unit * UNIT:(unit + 1) * UNIT]
            seq = struct.unpack_from("<Q", content)[0]
            if content != unit_bytes(seq, unit):
                raise Wrong("unit %d is no unit of any request: %r" % (unit, content[:32]))
            seen.append(seq)
        return seen

    def history(self):
        """Of each unit: None for the base, then its requests in order."""
        steps = [[None] for _ in range(self.units)]
        for request in self.requests:
            for unit in request.units():
                steps[unit].append(request)
        return steps

    def check_prefix(self, steps, seen, low, high):
        horizon = self.flushed
        because = "the last answered flush"
        for unit in range(self.units):
            request = steps[unit][low[unit]]
            if request and request.submitted > horizon:
                horizon, because = request.submitted, "what is left of %s" % request
        for request in self.requests:
            if request.fua and request.answered and request.submitted > horizon:
                horizon, because = request.submitted, "the answered %s" % request
        for request in self.requests:
            if not request.answered:
                continue
            if request.answered >= horizon and not request.fua:
                continue
            for unit in request.units():
                if steps[unit].index(request) > high[unit]:
                    raise Wrong("%s is missing in unit %d, which holds #%d; it must be "
                                "there because of %s" % (request, unit, seen[unit], because))

    @staticmethod
    def check_whole(steps, seen, high):
        checked = set()
        for unit, seq in enumerate(seen):
            request = steps[unit][high[unit]]
            if not request or not seq or request in checked:
                continue
            checked.add(request)
            for other in request.units():
                if steps[other].index(request) > high[other]:
                    raise Wrong("%s is in unit %d but not in unit %d" %
                                (request, unit, other))


class Client:
    """Connections to one server, with requests of a model in flight on them."""

    def __init__(self, socket, model, rng, connections=2, depth=16, wait_s=20):
        self.model = model
        self.rng = rng
        self.depth = depth
        self.inflight = []
        self.flushes = {}           # submission -> answered
        self.errors = []            # (submission, kind, errno)
        self.handles = [connect(socket, wait_s) for _ in range(connections)]

    def submit(self, kind, first=0, count=0, fua=False):
        handle = self.rng.choice(self.handles)
        flags = nbd.CMD_FLAG_FUA if fua else 0
        offset, size = first * UNIT, count * UNIT
        if kind == "flush":
            request = Request(0, kind, 0, 0, False, self.model.tick())
        else:
            request = self.model.add(kind, first, count, fua)

        def completion(error):
            self.answered(request, error if isinstance(error, int) else error.value)
            return 1

        self.inflight.append(request)
        if kind == "flush":
            handle.aio_flush(completion=completion)
        elif kind == "write":
            # No nbd.Buffer: libnbd 1.14 keeps each for ever, which was 23 GB in the end.
            request.buffer = bytearray(
                b"".join(unit_bytes(request.seq, u) for u in request.units()))
            handle.aio_pwrite(request.buffer, offset, completion=completion, flags=flags)
        elif kind == "zero":
            handle.aio_zero(size, offset, completion=completion, flags=flags)
        elif kind == "trim":
            handle.aio_trim(size, offset, completion=completion, flags=flags)
        else:
            request.buffer = bytearray(size)
            handle.aio_pread(request.buffer, offset, completion=completion)
        return request

    def answered(self, request, error):
        self.inflight.remove(request)
        if error:
            self.errors.append((request.submitted, request.kind, error))
        if request.kind == "flush":
            if not error:
                self.model.tick()
                self.model.flushed = max(self.model.flushed, request.submitted)
        elif request.kind != "read":
            self.model.answer(request, error)
        elif not error:
            self.model.check_read(request, request.buffer)
        request.buffer = None

    def random_request(self):
        rng = self.rng
        dice = rng.random()
        if dice < 0.03:
            return self.submit("flush")
        kind = ("write" if dice < 0.80 else "zero" if dice < 0.85 else
                "trim" if dice < 0.90 else "read")
        count = min(rng.choice((1, 2, 7, 8, 8, 8, 16, 64, 129, 512, 2048)),
                    self.model.units)
        first = rng.randrange(self.model.units - count + 1)
        if rng.random() < 0.5:
            first -= first % min(8, count)
        if any(r.count and r.overlaps(first, count) for r in self.inflight):
            return None
        return self.submit(kind, first, count, kind != "read" and rng.random() < 0.02)

    def poll(self, timeout_s):
        poller = select.poll()
        by_fd = {}
        for handle in self.handles:
            direction = handle.aio_get_direction()
            events = 0
            if direction & nbd.AIO_DIRECTION_READ:
                events |= select.POLLIN
            if direction & nbd.AIO_DIRECTION_WRITE:
                events |= select.POLLOUT
            poller.register(handle.aio_get_fd(), events)
            by_fd[handle.aio_get_fd()] = handle
        for fd, events in poller.poll(timeout_s * 1000):
            direction = by_fd[fd].aio_get_direction()
            try:
                if events & select.POLLOUT and direction & nbd.AIO_DIRECTION_WRITE:
                    by_fd[fd].aio_notify_write()
                elif direction & nbd.AIO_DIRECTION_READ:
                    by_fd[fd].aio_notify_read()
            except nbd.Error as e:
                raise Wrong("the server died: %s" % e) from e

    def run(self, seconds):
        """Random requests for that long; what is in flight stays so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.errors:
            if len(self.inflight) < self.depth:
                self.random_request()
                if self.rng.random() < 0.7:
                    continue
            self.poll(0.01)

    def drain(self, seconds=20):
        """Wait for the answers of all that is in flight."""
        end = time.monotonic() + seconds
        while self.inflight:
            if time.monotonic() > end:
                raise Wrong("no answer for %d s to %s" % (seconds, self.inflight[0]))
            self.poll(0.1)

    def ask(self, kind, first=0, count=0, seconds=20):
        """One request, to its end; returns its errno or 0."""
        self.errors = []
        request = self.submit(kind, first, count)
        self.drain(seconds)
        return next((e for s, _, e in self.errors if s == request.submitted), 0)

    def read_all(self):
        size = self.model.units * UNIT
        step = 1 << 20
        return b"".join(bytes(self.handles[0].pread(min(step, size - at), at))
                        for at in range(0, size, step))

    def close(self):
        """Without saying goodbye: a dead or stopped server would not answer."""
        self.handles = []
        self.inflight = []


def connect(socket, wait_s):
    end = time.monotonic() + wait_s
    while True:
        handle = nbd.NBD()
        try:
            handle.connect_unix(socket)
            return handle
        except nbd.Error as e:
            if time.monotonic() > end:
                raise Wrong("no server on %s within %d s: %s" % (socket, wait_s, e)) from e
            time.sleep(0.01)


class Server:
    """nbdkit with the plugin, as a child process."""

    def __init__(self, plugin, location, socket, *options):
        self.socket = socket
        if os.path.exists(socket):
            os.unlink(socket)
        self.process = subprocess.Popen(
            ["nbdkit", "-f", "-U", socket, plugin, location] + list(options),
            stdin=subprocess.DEVNULL)

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """As an administrator would; the volume is flushed and closed."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(20) != 0:
            raise Wrong("the server ended with status %d" % self.process.returncode)
