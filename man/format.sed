# SPDX-License-Identifier: LGPL-2.1-or-later
# docs/format.md as a manual page: a NAME, sections one level up, links as plain words.
1s/^# .*/# NAME\n\nhlfs-format - the stored format of HLFS volumes\n\n# DESCRIPTION/
s/^##/#/
s/\[\([^]]*\)\]([^)]*)/\1/g
