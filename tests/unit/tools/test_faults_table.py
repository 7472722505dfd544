# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.tools import faults_table

START = {"kind": "start", "fault": "unknown flag", "verdict": "failed", "cause": "bad_flag", "seconds": 4.26}
REFUSED = {"kind": "start", "fault": "port taken", "verdict": "refused", "cause": "", "seconds": None}
SERVER = {"kind": "server", "fault": "frozen", "verdict": "degraded", "cause": "canary_timeout"}
PAGE = f"before\n{faults_table.BEGIN}\n{faults_table.END}\nafter\n"


def test_starts_have_seconds_and_servers_have_none() -> None:
    starts, servers = faults_table.tables([SERVER, START, REFUSED]).split("\n\n## ")
    assert starts.splitlines()[2:] == [
        "| fault | verdict | cause | seconds |",
        "| --- | --- | --- | --: |",
        "| unknown flag | failed | [`bad_flag`](../troubleshooting.md#bad_flag) | 4.3 |",
        "| port taken | refused | - | - |",
    ]
    assert servers.splitlines()[2:] == [
        "| fault | verdict | cause |",
        "| --- | --- | --- |",
        "| frozen | degraded | [`canary_timeout`](../troubleshooting.md#canary_timeout) |",
    ]


def test_a_run_replaces_what_it_has_seen_and_nothing_else() -> None:
    known = [{"kind": "start", "fault": name} for name in ("unknown flag", "new")] + [
        {"kind": "server", "fault": "frozen"}
    ]
    first = faults_table.updated(PAGE, [START, SERVER, {**START, "fault": "gone"}], known)
    assert "| new | not recorded | not recorded | not recorded |" in first
    assert "gone" not in first
    second = faults_table.updated(first, [{**START, "seconds": 5.0}], known)
    assert second == first.replace("| 4.3 |", "| 5.0 |")
    assert faults_table.updated(second, [], known) == second


def test_what_the_journey_asserts_wins_over_an_earlier_run() -> None:
    page = faults_table.updated(PAGE, [START], [START])
    assert "| failed | [`option`](../troubleshooting.md#option) | 4.3 |" in faults_table.updated(
        page, [], [{"kind": "start", "fault": "unknown flag", "verdict": "failed", "cause": "option"}]
    )


def test_faults_are_read_from_the_files_of_the_journey(tmp_path: Path) -> None:
    (tmp_path / "start_faults.py").write_text(
        'FAULTS = [Fault("a", cause=""), Fault("b", "c", "r", **more()), Fault("d", cause="e", verdict="stuck")]'
    )
    (tmp_path / "test_servers.py").write_text(
        "def test():\n    try:\n        look('f', port=1)\n    finally:\n        pass\n    look('g')\n"
        "    record(kind='start', fault='h', seconds=x)\n    record(kind='server', fault=fault)\n"
    )
    assert faults_table.faults(tmp_path) == [
        {"kind": "start", "fault": "a", "verdict": "refused", "cause": "", "seconds": None},
        {"kind": "start", "fault": "b", "verdict": "failed", "cause": "c"},
        {"kind": "start", "fault": "d", "verdict": "stuck", "cause": "e"},
        {"kind": "start", "fault": "h"},
        {"kind": "server", "fault": "f"},
        {"kind": "server", "fault": "g"},
    ]


def test_the_page_has_each_fault_of_the_journey() -> None:
    page = (faults_table.ROOT / "docs" / "reference" / "faults.md").read_text()
    assert list(faults_table.recorded(page)) == [row["fault"] for row in faults_table.faults()]
    assert faults_table.updated(page, [], faults_table.faults()) == page, "tools/faults_table.py was not run"


def test_an_old_page_is_told_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "faults.md"
    page.write_text(PAGE)
    monkeypatch.setattr("sys.argv", ["faults_table.py", "--check", str(page)])
    assert faults_table.main() == 1
    assert page.read_text() == PAGE
    assert capsys.readouterr().err == f"{page}: out of date; run: make docs\n"
    page.write_text(faults_table.updated(PAGE, [], faults_table.faults()))
    assert faults_table.main() == 0


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = f"before\n{faults_table.BEGIN}\nold\n{faults_table.END}\nafter\n"
    filled = faults_table.fill(text, "new")
    assert filled == f"before\n{faults_table.BEGIN}\n\nnew\n\n{faults_table.END}\nafter\n"
    assert faults_table.fill(filled, "new") == filled


@pytest.mark.parametrize("text", ["", faults_table.BEGIN, f"{faults_table.END}\n{faults_table.BEGIN}"])
def test_without_markers_nothing_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="needs one line"):
        faults_table.fill(text, "new")
