# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator was told, and when the log had shown it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from support.sandbox import Spark

from .second_service import SERVICE


def told(run: Any) -> list[tuple[float, str]]:
    """The lines in which Ansible says what failed, and when they were on the terminal."""
    start = "[ERROR]: Task failed: Action failed: "
    return [(when, line.removeprefix(start)) for when, line in run.lines if line.startswith(start)]


def moments(spark: Spark, container: str, evidence: str, since: float) -> list[float]:
    """When the line that shows the fault was written: to the container's log, or by Docker to the unit's journal.

    A bar that shows progress begins with a carriage return and has blanks, of which evidence keeps one each.
    """
    shown = " ".join(re.split(r"last line: |^exit code \d+: ", evidence)[-1][:60].split())
    with spark.sudo():
        log = spark.run("docker logs --timestamps --since=%s %s 2>&1", str(since), container).stdout
        journal = spark.check_output("journalctl --unit=%s --output=json --since=%s", SERVICE, f"@{int(since)}")
    lines = [line.partition(" ") for line in log.split("\n")]
    if found := [when for when, _blank, text in lines if shown in " ".join(text.split())]:
        return [datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z$", r"\1+00:00", when)).timestamp() for when in found]
    entries = [json.loads(line) for line in journal.splitlines()]
    return [int(entry["__REALTIME_TIMESTAMP"]) / 1e6 for entry in entries if shown in text_of(entry["MESSAGE"])]


def text_of(message: str | list[int]) -> str:
    """The journal gives bytes where a program wrote colors."""
    return message if isinstance(message, str) else bytes(message).decode(errors="replace")
