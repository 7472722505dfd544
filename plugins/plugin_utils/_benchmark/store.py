# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of the records on the controller: FOLDER/HOST/TIME-MODE.json, with the plots beside them as .svg."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

from .record import FORMAT, Facts

# The order of the names is that of time.
_RECORD = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-.+\.json")


def place(folder: str, host: str) -> Path:
    """The folder of a host. A relative one starts in the working directory of ansible-playbook."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", host).lstrip(".") or "_"
    return Path(folder).expanduser() / name


def name_of(record: Facts) -> str:
    """Without its ending. The service is in it where a host has several."""
    service = record["server"].get("service") or "vllm"
    extra = "" if service == "vllm" else f"-{service}"
    return f"{record['time'].replace(':', '-')}-{record['mode']}{extra}"


def earlier(folder: Path) -> tuple[list[Facts], list[str]]:
    """The records that are there, in the order of time, and one line for each file that cannot be read."""
    records: list[Facts] = []
    lines: list[str] = []
    try:
        paths = sorted(path for path in folder.iterdir() if _RECORD.fullmatch(path.name))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{folder}: earlier records cannot be read: {error.strerror}"]
    for path in paths:
        try:
            found: t.Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            lines.append(f"{path} is ignored: {' '.join(str(error).split())}")
            continue
        if not _is_record(found):
            lines.append(f"{path} is ignored: it is no record of this version")
            continue
        records.append(found)
    return records, lines


def newest_plot(folder: Path) -> tuple[Facts, str] | None:
    """The latest record that has a plot, and the text of the plot."""
    for record in reversed(earlier(folder)[0]):
        try:
            return record, (folder / f"{name_of(record)}.svg").read_text(encoding="utf-8")
        except (OSError, ValueError, KeyError):
            continue
    return None


def _is_record(found: t.Any) -> bool:
    """Whether a file holds what is read of it: it may be older, or edited."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return False
    if not all(isinstance(found.get(name), kind) for name, kind in (("time", str), ("server", dict), ("cells", list))):
        return False
    return all(
        isinstance(cell, dict)
        and isinstance(cell.get("name"), str)
        and isinstance(cell.get("repetitions"), list)
        and all(isinstance(run, dict) and isinstance(run.get("result"), dict) for run in cell["repetitions"])
        for cell in found["cells"]
    )
