# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table: how comparisons look, and whether they reach their goals."""

import statistics
import sys

FORMAT = "%-12s %-10s %11s %11s  %5s %-12s %-7s %-3s %5s %6s %6s %5s"


class Comparison:
    """HLFS against one other thing, or, with OTHER None, against a fixed number.

    hlfs and other are lists of figures, one a round.  The goal is on their ratio,
    or on the figure itself: at least GOAL, or at most, if MOST is true.
    """

    def __init__(self, against, hlfs, other, goal, unit, most=False, cpu_us=None):
        self.against = against
        self.hlfs = hlfs
        self.other = other
        self.goal = goal
        self.unit = unit
        self.most = most
        self.cpu_us = cpu_us        # of the other, per request
        self.values = [a / b for a, b in zip(hlfs, other)] if other else hlfs

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def met(self):
        if self.goal is None:
            return None
        return self.median <= self.goal if self.most else self.median >= self.goal


class Result:
    """Of one row: comparisons, and what HLFS used meanwhile (None: not known)."""

    def __init__(self, comparisons, rss_bytes=None, cpu_us=None, written_ratio=None,
                 notes=()):
        self.comparisons = comparisons
        self.rss_bytes = rss_bytes
        self.cpu_us = cpu_us
        self.written_ratio = written_ratio
        self.notes = list(notes)


def number(value):
    return "%.0f" % value if value >= 1000 else "%.3g" % value


def figure(values, unit):
    return "%s %s" % (number(statistics.median(values)), unit) if values else "-"


class Table:
    def __init__(self, quiet):
        self.quiet = quiet
        self.rows = []
        self.notes = []

    def say(self, line):
        print(line, file=sys.stderr if self.quiet else sys.stdout, flush=True)

    def begin(self, machine):
        self.say("\n".join("%-10s%s" % item for item in machine.items()) + "\n")
        self.say(FORMAT % ("row", "against", "hlfs", "other", "ratio", "min-max", "goal",
                           "met", "MiB", "us/io", "other", "waf"))

    def add(self, row, result):
        self.rows.append((row, result))
        for c in result.comparisons:
            first = c is result.comparisons[0]
            self.say(self.line(row.name if first else "", c, result if first else None))
        for note in result.notes:
            self.note(row, note)

    def line(self, name, c, result):
        used = ["", "", c.cpu_us and "%.2f" % c.cpu_us, ""]
        if result:
            used[0] = result.rss_bytes and "%.0f" % (result.rss_bytes / 2**20)
            used[1] = result.cpu_us and "%.2f" % result.cpu_us
            used[3] = result.written_ratio and "%.2f" % result.written_ratio
        goal = "" if c.goal is None else "%s %.3g" % ("<=" if c.most else ">=", c.goal)
        met = {None: "", True: "yes", False: "NO"}[c.met]
        return FORMAT % (
            name, c.against, figure(c.hlfs, c.unit), figure(c.other, c.unit),
            number(c.median), "%s-%s" % (number(min(c.values)), number(max(c.values))),
            goal, met, *(u or "" for u in used))

    def fail(self, row, sentence):
        self.rows.append((row, None))
        self.say("%-12s FAILED" % row.name)
        self.note(row, sentence)

    def note(self, row, sentence):
        self.notes.append("%s: %s" % (row.name, sentence))

    def end(self):
        self.say("\nMiB, us/io and waf are of HLFS's process: most memory, CPU time per "
                 "request, bytes\nwritten per byte asked for; \"other\" is the CPU time "
                 "per request of the other one.\nOver NBD they are the servers', without "
                 "the client.\n")
        for row, result in self.rows:
            self.say("  %-12s %s" % (row.name, row.title))
        for note in self.notes:
            self.say("NOTE %s" % note)

    def as_json(self):
        return [{
            "name": row.name, "title": row.title, "failed": result is None,
            "rss_bytes": result and result.rss_bytes,
            "cpu_us_per_io": result and result.cpu_us,
            "written_ratio": result and result.written_ratio,
            "notes": result.notes if result else
            [n for n in self.notes if n.startswith(row.name + ":")],
            "comparisons": [{
                "against": c.against, "unit": c.unit, "hlfs": c.hlfs, "other": c.other,
                "ratio_median": c.median, "ratio_min": min(c.values),
                "ratio_max": max(c.values), "goal": c.goal, "goal_is_most": c.most,
                "met": c.met, "other_cpu_us_per_io": c.cpu_us,
            } for c in (result.comparisons if result else [])],
        } for row, result in self.rows]
