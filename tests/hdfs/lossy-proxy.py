#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""lossy-proxy.py PORT PROBABILITY SEED - before PORT of loopback.

Prints its own port.  It hands requests on, but of answers it loses some, and the
connection with them: the server has done what was asked, and nobody heard of it.
Prints a line for each that was lost.
"""
import random
import socket
import sys
import threading

target, probability = int(sys.argv[1]), float(sys.argv[2])
chance = random.Random(int(sys.argv[3]))


def end(*sockets):
    for s in sockets:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def pump(source, sink, lose):
    try:
        while data := source.recv(65536):
            if lose and chance.random() < probability:
                print('lost', flush=True)
                break
            sink.sendall(data)
    except OSError:
        pass
    end(source, sink)


listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(('127.0.0.1', target))
    for a, b, lose in ((client, server, False), (server, client, True)):
        threading.Thread(target=pump, args=(a, b, lose), daemon=True).start()
