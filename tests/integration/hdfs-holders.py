# SPDX-License-Identifier: LGPL-2.1-or-later
"""hdfs-holders.py PLUGIN HLFS PREFIX VOLUMES SIZE DIR ROUNDS SEED - see hdfs-holders.sh.

PREFIX with a number is the location of each volume.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from fencing import begin_second, continue_first
from nbdmodel import UNIT, Client, Model, Server, Wrong

# The second is what users are promised, the first allows for a machine busy otherwise.
TAKEN_MAX_S = 20
TAKEN_MEDIAN_MAX_S = 10
REFUSED_MAX_S = 20


class Volume(threading.Thread):
    """One volume and its rounds; ERROR is why they ended before they should."""

    def __init__(self, number, plugin, hlfs, location, units, directory, rounds, seed):
        super().__init__()
        self.number = number
        self.plugin = plugin
        self.hlfs = hlfs
        self.location = location
        self.directory = directory
        self.rounds = rounds
        self.rng = random.Random(seed)
        self.model = Model(units)
        self.taken_s = []
        self.error = None
        self.servers = []

    def run(self):
        try:
            for self.round in range(self.rounds):
                self.one_round(self.round + self.number)
        except Exception as e:
            self.error = e
        finally:
            for server in self.servers:
                server.kill()

    def say(self, text):
        print("volume %d, round %d: %s" % (self.number, self.round, text), flush=True)

    def server(self, *options):
        socket = os.path.join(self.directory, "%d-%d.sock" %
                              (self.number, len(self.servers) % 2))
        self.servers.append(Server(self.plugin, self.location, socket, *options))
        return self.servers[-1]

    def one_round(self, number):
        self.servers = []
        first = self.server()
        client = Client(first.socket, self.model, self.rng, wait_s=TAKEN_MAX_S)
        self.model.check_after_crash(client.read_all())
        client.run(self.rng.uniform(0.05, 0.5))
        self.expect_refused(client)
        client.run(self.rng.uniform(0.05, 0.5))
        if client.errors:
            raise Wrong("the healthy writer failed: %s" % (client.errors[0],))
        if number % 3 == 0:
            self.killed(first, client)
        else:
            self.stopped(first, client, idle=number % 3 == 2)

    def expect_refused(self, client):
        """The holder does nothing; so its volume is not anybody else's."""
        client.drain()
        start = time.monotonic()
        tried = subprocess.run(
            [self.hlfs, "bench", self.location, "--io", "write", "--count", "1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=60, text=True)
        taken = time.monotonic() - start
        if tried.returncode != 1 or "is held by another writer" not in tried.stderr:
            raise Wrong("a second writer was not refused: status %d, %s" %
                        (tried.returncode, tried.stderr))
        if taken > REFUSED_MAX_S:
            raise Wrong("a second writer was refused after %.1f s only" % taken)
        if client.ask("write", 0, 8) or client.ask("flush"):
            raise Wrong("the healthy writer failed after another one was refused")
        self.say("an idle writer kept its volume, the other was refused in %.1f s" % taken)

    def take_over(self, model):
        """Another writer comes, without force."""
        start = time.monotonic()
        server = self.server()
        client = Client(server.socket, model, self.rng, wait_s=TAKEN_MAX_S)
        taken = time.monotonic() - start
        self.taken_s.append(taken)
        if taken > TAKEN_MAX_S:
            raise Wrong("it took %.1f s to take over" % taken)
        return server, client, taken

    def killed(self, first, client):
        first.kill()
        client.close()
        second, client, taken = self.take_over(self.model)
        self.model.check_after_crash(client.read_all())
        client.close()
        second.stop()
        self.say("a killed one was taken over from in %.1f s" % taken)

    def stopped(self, first, client1, idle):
        first.signal(signal.SIGSTOP)
        model2 = Model(self.model.units)
        second, client2, taken = self.take_over(model2)
        content = begin_second(client2, self.model)
        client2.run(0.2)
        found_out = continue_first(first, client1, client2, content, idle)
        first.kill()
        second.stop()
        self.model = model2
        self.say("%s stopped one was taken over from in %.1f s, and found out in %.1f s" %
                 ("an idle" if idle else "a", taken, found_out))


def wait_for_loser(takers):
    end = time.monotonic() + 3 * TAKEN_MAX_S
    while time.monotonic() < end:
        for taker, other in (takers, reversed(takers)):
            if taker.process.poll() is not None:
                return taker, other
        time.sleep(0.05)
    raise Wrong("none of two takers was refused")


def two_takers(volume):
    """Both come at once after a kill: one has the volume, the other is refused."""
    volume.servers = []
    first = volume.server()
    client = Client(first.socket, volume.model, volume.rng, wait_s=TAKEN_MAX_S)
    volume.model.check_after_crash(client.read_all())
    client.run(0.3)
    first.kill()
    client.close()
    takers = [volume.server(), volume.server()]
    loser, winner = wait_for_loser(takers)
    if loser.process.returncode != 1:
        raise Wrong("the other taker ended with status %d" % loser.process.returncode)
    client = Client(winner.socket, volume.model, volume.rng, wait_s=TAKEN_MAX_S)
    volume.model.check_after_crash(client.read_all())
    if client.ask("write", 0, 8) or client.ask("flush"):
        raise Wrong("the one of two takers that has the volume cannot write")
    client.close()
    winner.stop()
    print("of two takers at once one has the volume, one was refused", flush=True)


def main(plugin, hlfs, prefix, count, size, directory, rounds, seed):
    count, rounds, units = int(count), int(rounds), int(size) // UNIT
    volumes = [Volume(n, plugin, hlfs, "%s%d" % (prefix, n + 1), units, directory,
                      rounds // count + (n < rounds % count), int(seed) + n)
               for n in range(count)]
    for volume in volumes:
        volume.start()
    for volume in volumes:
        volume.join()
    for volume in volumes:
        if volume.error:
            raise Wrong("volume %d, round %d: %s" % (volume.number, volume.round,
                                                     volume.error)) from volume.error
    taken = sorted(t for volume in volumes for t in volume.taken_s)
    print("taken over in %.1f s at the median, %.1f s at most" %
          (taken[len(taken) // 2], taken[-1]))
    if taken[len(taken) // 2] > TAKEN_MEDIAN_MAX_S:
        raise Wrong("half of the times it took more than %d s" % TAKEN_MEDIAN_MAX_S)
    try:
        two_takers(volumes[0])
    finally:
        for server in volumes[0].servers:
            server.kill()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Wrong as e:
        print("WRONG: %s" % e)
        sys.exit(1)
