# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal of ansible-playbook, as an action plugin sees it: from a process that was taken off of it."""

from __future__ import annotations

import os

WIDTH = 160
HOME = "\x1b[H"
END_OF_LINE, END_OF_SCREEN = "\x1b[K", "\x1b[J"


def size() -> os.terminal_size | None:
    """Columns and lines; None if the output goes elsewhere, or if it cannot be told (no /proc)."""
    try:
        # O_NOCTTY: this process leads a session of its own, and a terminal that it opens would become its
        descriptor = os.open(f"/proc/{os.getppid()}/fd/1", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.get_terminal_size(descriptor)
        return found if found.columns and found.lines else None
    except OSError:  # no terminal
        return None
    finally:
        os.close(descriptor)


def width() -> int:
    """Of a table on it. The same width in a file or a pipe, whoever started the playbook."""
    found = size()
    return WIDTH if found is None else min(found.columns, WIDTH)


def redrawn(lines: list[str]) -> str:
    """LINES in the place of what the terminal shows. Nothing is cleared first, so nothing flickers."""
    return HOME + "".join(f"{line}{END_OF_LINE}\n" for line in lines) + END_OF_SCREEN
