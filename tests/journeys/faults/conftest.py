# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen of each fault: kept in a file for tools/faults_table.py, and printed at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.paths import ROOT
from support.playbook import AnsiblePlaybook
from support.sandbox import Spark

from .second_service import ITS_OWN

SEEN = ROOT / ".cache" / "faults.json"

seen: list[dict[str, Any]] = []


@pytest.fixture(scope="session")
def record() -> Callable[..., None]:
    """Remembers what an operator was told about a fault, and after how many seconds."""

    def remember(**row: Any) -> None:
        seen.append(row)
        SEEN.parent.mkdir(exist_ok=True)
        SEEN.write_text(json.dumps(seen, indent=1) + "\n")

    return remember


@pytest.fixture(scope="module", autouse=True)
def no_trace(prepared: Spark, ansible_playbook: AnsiblePlaybook) -> Iterator[None]:
    """The second service is gone afterwards, whatever happened to it."""
    yield
    removed = ansible_playbook("playbooks/uninstall.yml", prepared.limit, **ITS_OWN)
    assert removed.code == 0, removed.output


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not seen:
        return
    terminalreporter.section("seconds from the fatal line to the failed task")
    for row in seen:
        seconds = f"{row['seconds']:.1f}" if row.get("seconds") is not None else "-"
        terminalreporter.write_line(f"{seconds:>6}  {row['verdict']:<9} {row['cause'] or '-':<24} {row['fault']}")
