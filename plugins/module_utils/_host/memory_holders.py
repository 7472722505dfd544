# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds the memory of a host."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from .._outside.text import plain

# Who holds less memory is not why a start has too little.
LEAST_HELD = 1024**3


def gib(size: float) -> str:
    return f"{size / 1024**3:.1f}"


def holders(proc: Path, gpu: str) -> str:
    """The three processes that hold most memory: of the GPU, which no process is charged for, or of their own."""
    held: dict[int, int] = {}
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            resident = re.search(r"^VmRSS:\s+(\d{1,15}) kB$", (folder / "status").read_text(), re.MULTILINE)
            held[int(folder.name)] = int(resident[1]) * 1024 if resident else 0
    for pid, mib in re.findall(r"^\s*(\d{1,10})\s*,\s*(\d{1,12})\b", gpu, re.MULTILINE):
        held[int(pid)] = held.get(int(pid), 0) + int(mib) * 1024**2
    texts = []
    many = [entry for entry in held.items() if entry[1] >= LEAST_HELD]
    for pid, size in sorted(many, key=lambda entry: -entry[1])[:3]:
        name = "?"
        with contextlib.suppress(OSError):
            name = plain((proc / str(pid) / "comm").read_text(errors="replace").strip())
        texts.append(f"{name} (pid {pid}) {gib(size)} GiB")
    return ", ".join(texts) or "no one that can be seen with 1 GiB or more"
