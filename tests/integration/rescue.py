# SPDX-License-Identifier: LGPL-2.1-or-later
"""rescue.py IMAGE EXPORT SAID - was everything rescued that could be?

IMAGE is what the volume held, written once, over zeros; EXPORT what was rescued; SAID the
lines of the export.  Each block is as it was, or zeros where "lost:" says so.  Where whole
records are told to be lost, blocks may be as before: zeros.  Prints how many blocks are as
they were, how many are lost, and how many are older.
"""

import re
import sys

BLOCK = 4096


def lost_ranges(text):
    for line in re.findall(r"^lost: (\d+) (\d+)$", text, re.M):
        yield int(line[0]), int(line[0]) + int(line[1])


def main(image_path, export_path, said_path):
    with open(image_path, "rb") as f:
        image = f.read()
    with open(export_path, "rb") as f:
        export = f.read()
    with open(said_path) as f:
        said = f.read()
    if len(image) != len(export):
        sys.exit("the size is %d, not %d" % (len(export), len(image)))
    lost = set()
    for begin, end in lost_ranges(said):
        lost.update(range(begin // BLOCK, (end + BLOCK - 1) // BLOCK))
    counts = {"whole": 0, "lost": 0, "older": 0}
    for n in range(len(image) // BLOCK):
        was, now = (x[n * BLOCK:(n + 1) * BLOCK] for x in (image, export))
        if n in lost:
            counts["lost"] += 1
            if now.strip(b"\0"):
                sys.exit("block %d is said to be lost and is not zeros" % n)
        elif now == was:
            counts["whole"] += 1
        elif "what they wrote shows as it was before" in said and not now.strip(b"\0"):
            counts["older"] += 1
        else:
            sys.exit("block %d is wrong, and nobody says so" % n)
    print("%(whole)d %(lost)d %(older)d" % counts)


if __name__ == "__main__":
    main(*sys.argv[1:])
