# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one of the programs that the module host_code has copied: python3 FOLDER PROGRAM ARGUMENTS.

On the host this file is FOLDER/__main__.py, so that Python has FOLDER on its path, with -I too.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main(folder: Path, argv: list[str]) -> None:
    programs = {path.stem: path for path in folder.glob("ansible_collections/*/*/roles/*/files/*.py")}
    if not argv or argv[0] not in programs:
        raise SystemExit(f"usage: python3 {folder} {'|'.join(sorted(programs))} ...")
    name = ".".join(programs[argv[0]].relative_to(folder).with_suffix("").parts)
    sys.argv = argv
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(__file__).parent, sys.argv[1:])
