#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# check-format-doc.py FORMAT.md - turn the byte tables of docs/format.md into a C source
# of static assertions; it compiles only if the text and the stored structs agree.
#
# A table belongs to the struct that the last line above it names in backquotes as
# `struct NAME_disk`.  Its rows are "| offset | bytes | `field` | ...".  Each byte of a
# struct stands in one row: gaps and overlaps are found here.

import re
import sys

ROW = re.compile(r"^\| *(\d+) *\| *(\d+) *\| *`(\w+)` *\|")
NAME = re.compile(r"`struct (\w+_disk)`")


def read_tables(lines):
    tables, name = {}, None
    for number, line in enumerate(lines, 1):
        row = ROW.match(line)
        if row and name is None:
            sys.exit("line %d: a table that belongs to no struct" % number)
        if row:
            tables.setdefault(name, []).append(
                (int(row[1]), int(row[2]), row[3]))
        elif NAME.search(line):
            name = NAME.search(line)[1]
    return tables


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        tables = read_tables(f)
    if len(tables) < 10:
        sys.exit("only %d tables: are their structs still named?" % len(tables))
    print("#include <stddef.h>\n#include \"log/format.h\"\n#include \"map/page.c\"")
    for name, rows in tables.items():
        at = 0
        for offset, size, field in rows:
            if offset != at:
                sys.exit("struct %s: %s begins at %d, not %d" % (name, field, at, offset))
            at += size
            print("static_assert(offsetof(struct %s, %s) == %d, \"%s\");"
                  % (name, field, offset, field))
            if size:
                print("static_assert(sizeof(((struct %s *)0)->%s) == %d, \"%s\");"
                      % (name, field, size, field))
        print("static_assert(sizeof(struct %s) == %d, \"%s\");" % (name, at, name))


main()
