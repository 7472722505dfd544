# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that a container may leave in a folder that it can write."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def deep_tree(folder: Path) -> Iterator[Path]:
    """Deeper than Python's recursion, and than the longest path. At the end it is removed: pytest could not."""
    folder.mkdir(parents=True)
    here = os.open(folder, os.O_RDONLY)
    for _level in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", "--", folder], check=True)
