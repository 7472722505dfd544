# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of this collection that the module host_code copies to a host."""

from __future__ import annotations

import typing as t
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[3]
ON_THE_HOST = Path("ansible_collections/dgxspark/vllm")
MAIN = COLLECTION / "plugins" / "module_utils" / "_deploy" / "host_main.py"


def collect(paths: t.Sequence[str]) -> dict[str, str]:
    """Python files by their path on the host, with the __init__.py of the packages that they are in.

    ValueError: one of PATHS, which are relative to the collection, is not there.
    """
    found: dict[str, str] = {}
    for path in paths:
        start = (COLLECTION / path).resolve()
        if COLLECTION not in start.parents or not start.exists():
            raise ValueError(f"paths: {path} is not a file or a folder of this collection")
        for file in sorted(start.rglob("*.py")) if start.is_dir() else [start]:
            packages = [folder / "__init__.py" for folder in file.parents if COLLECTION in folder.parents]
            for each in (file, *filter(Path.exists, packages)):
                found[str(ON_THE_HOST / each.relative_to(COLLECTION))] = each.read_text(encoding="utf-8")
    return {**found, "__main__.py": MAIN.read_text(encoding="utf-8")} if found else {}
