# SPDX-License-Identifier: LGPL-2.1-or-later
"""nbd-kill.py PLUGIN LOCATION SIZE DIR ROUNDS SEED - see nbd-kill.sh."""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from nbdmodel import UNIT, Client, Model, Server, Wrong

# The second is what users are promised, the first allows for a machine busy otherwise.
REOPEN_MAX_S = 5.0
REOPEN_MEDIAN_MAX_S = 1.0


def kill_rounds(plugin, location, size, directory, rounds, seed):
    rng = random.Random(seed)
    model = Model(size // UNIT)
    opened_s = []
    for number in range(rounds):
        start = time.monotonic()
        server = Server(plugin, location, os.path.join(directory, "nbd.sock"))
        try:
            client = Client(server.socket, model, rng)
            taken = time.monotonic() - start
            opened_s.append(taken)
            if taken > REOPEN_MAX_S:
                raise Wrong("round %d: it took %.2f s to open" % (number, taken))
            model.check_after_crash(client.read_all())
            client.run(rng.uniform(0.05, 1.2))
            if client.errors:
                raise Wrong("round %d: %s" % (number, client.errors[0]))
        finally:
            server.kill()
        answered = sum(1 for r in model.requests if r.answered)
        print("round %d: %d requests, %d of them answered, %d in flight; opened in %d ms" %
              (number, len(model.requests), answered, len(client.inflight), taken * 1000),
              flush=True)
        client.close()

    server = Server(plugin, location, os.path.join(directory, "nbd.sock"))
    try:
        client = Client(server.socket, model, rng)
        model.check_after_crash(client.read_all())
        client.close()
        server.stop()
    finally:
        server.kill()
    opened_s.sort()
    if opened_s[len(opened_s) // 2] > REOPEN_MEDIAN_MAX_S:
        raise Wrong("half of the times it took %.2f s or more to open" %
                    opened_s[len(opened_s) // 2])
    print("the slowest start took %d ms" % (opened_s[-1] * 1000))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    try:
        kill_rounds(arguments[0], arguments[1], int(arguments[2]), arguments[3],
                    int(arguments[4]), int(arguments[5]))
    except Wrong as e:
        print("WRONG: %s" % e)
        sys.exit(1)
