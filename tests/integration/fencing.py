# SPDX-License-Identifier: LGPL-2.1-or-later
"""fencing.py PLUGIN LOCATION SIZE DIR ROUNDS SEED - see fencing.sh."""

import errno
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from nbdmodel import UNIT, Client, Model, Server, Wrong

FOUND_OUT_MAX_S = 6     # the holder looks every 2 s


def overwrite(client, times):
    """All of the disk, so that segments are sealed and their files used again."""
    step = 1024
    for _ in range(times):
        for first in range(0, client.model.units, step):
            while len(client.inflight) >= client.depth:
                client.poll(0.1)
            client.submit("write", first, min(step, client.model.units - first))
        client.drain()
    error = client.ask("flush")
    if error:
        raise Wrong("a flush of the only writer failed: %d" % error)


def one_round(number, plugin, location, directory, model, rng):
    idle = number % 4 == 3
    servers = []
    try:
        first = Server(plugin, location, os.path.join(directory, "first.sock"))
        servers.append(first)
        client1 = Client(first.socket, model, rng)
        model.check_after_crash(client1.read_all())
        overwrite(client1, rng.randrange(1, 4))
        if number % 3 == 0:
            time.sleep(1.3)     # sealed files go to the pool after 1 s without requests
        client1.run(rng.uniform(0.05, 0.5))
        first.signal(signal.SIGSTOP)

        second = Server(plugin, location, os.path.join(directory, "second.sock"),
                        "force=yes")
        servers.append(second)
        model2 = Model(model.units)
        client2 = Client(second.socket, model2, rng)
        content = begin_second(client2, model)
        overwrite(client2, rng.randrange(0, 3))
        client2.run(rng.uniform(0.05, 0.5))

        found_out = continue_first(first, client1, client2, content, idle)
        second.stop()
        print("round %d: %s first writer found out after %.1f s" %
              (number, "an idle" if idle else "the", found_out), flush=True)
        return model2
    finally:
        for server in servers:
            server.kill()


def begin_second(client2, model):
    """What the second writer finds, which its model begins with."""
    content = client2.read_all()
    model2 = client2.model
    model2.seq = model.seq + 1000000    # numbers that the first never uses
    model2.base = model2.decode(content)
    model2.forget()
    return content


def continue_first(first, client1, client2, content, idle):
    """The stopped writer goes on, and finds out; how many seconds that took.  CONTENT is
    what the second one found.  Both clients are closed."""
    first.signal(signal.SIGCONT)
    resumed = time.monotonic()
    client1.drain()             # what was asked before it was stopped
    # A write that memory takes may still be answered; its flush may not.
    if not idle and not client1.ask("write", 0, 8) and not client1.ask("flush"):
        raise Wrong("the first writer's flush was answered after the take-over")
    client2.run(0.3)
    wait_until_fenced(client1, resumed)
    found_out = time.monotonic() - resumed

    # All that the first ever said is flushed, also after SIGCONT, is in what the second
    # read when it opened.
    client1.model.check_after_crash(content)
    client2.drain()
    if client2.errors:
        raise Wrong("the second writer failed: %s" % client2.errors[0])
    if client2.ask("flush"):
        raise Wrong("the second writer's flush failed")
    client2.model.check_after_crash(client2.read_all())
    client1.close()
    client2.close()
    return found_out


def wait_until_fenced(client, resumed):
    """Reads are asked for, which by themselves would reach no store."""
    while True:
        error = client.ask("read", 0, 8)
        if error == errno.ESHUTDOWN:
            return
        if error:
            raise Wrong("the first writer's read failed by %s, not as fenced" %
                        errno.errorcode.get(error, error))
        if time.monotonic() - resumed > FOUND_OUT_MAX_S:
            raise Wrong("the first writer did not find out in %d s" % FOUND_OUT_MAX_S)
        time.sleep(0.1)


def main(plugin, location, size, directory, rounds, seed):
    rng = random.Random(int(seed))
    model = Model(int(size) // UNIT)
    for number in range(int(rounds)):
        model = one_round(number, plugin, location, directory, model, rng)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Wrong as e:
        print("WRONG: %s" % e)
        sys.exit(1)
