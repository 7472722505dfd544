# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.tools import faults_table

START = {
    "kind": "start",
    "fault": "unknown flag",
    "verdict": "failed",
    "cause": "bad_flag",
    "remedy": "a | b",
    "seconds": 4.26,
}
REFUSED = {
    "kind": "start",
    "fault": "port taken",
    "verdict": "refused",
    "cause": "",
    "remedy": "Stop it",
    "seconds": None,
}
SERVER = {"kind": "server", "fault": "frozen", "verdict": "degraded", "cause": "canary_timeout", "remedy": "restart"}


def test_starts_have_seconds_and_servers_have_none() -> None:
    starts, servers = faults_table.tables([SERVER, START, REFUSED]).split("\n\n## ")
    assert starts.splitlines()[2:] == [
        "| fault | verdict | cause | remedy | seconds |",
        "| --- | --- | --- | --- | --: |",
        "| unknown flag | failed | [`bad_flag`](../troubleshooting.md#bad_flag) | a \\| b | 4.3 |",
        "| port taken | refused | - | Stop it | - |",
    ]
    assert servers.splitlines()[2:] == [
        "| fault | verdict | cause | remedy |",
        "| --- | --- | --- | --- |",
        "| frozen | degraded | [`canary_timeout`](../troubleshooting.md#canary_timeout) | restart |",
    ]


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = f"before\n{faults_table.BEGIN}\nold\n{faults_table.END}\nafter\n"
    filled = faults_table.fill(text, "new")
    assert filled == f"before\n{faults_table.BEGIN}\n\nnew\n\n{faults_table.END}\nafter\n"
    assert faults_table.fill(filled, "new") == filled


@pytest.mark.parametrize("text", ["", faults_table.BEGIN, f"{faults_table.END}\n{faults_table.BEGIN}"])
def test_without_markers_nothing_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="needs one line"):
        faults_table.fill(text, "new")
