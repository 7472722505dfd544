# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches of hosts: one table in the end, also of hosts that were lost, refused or never asked."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from flow_hosts import GOOD, HOSTS, SERVES, rows
from role_on_standins import R1, R2, Fleet, failure, health

from support.playbook import AnsiblePlaybook

# The host is read first; the stand-in for that needs no connection to fail without one.
NO_ROUTE = {"unreachable": True, "msg": "Task failed: no route to host"}
LOST = {
    **GOOD,
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "answers": {**SERVES, "spark_info": [NO_ROUTE]},
}
READY, REFUSED, UNTOUCHED, DEAD = "ready", "failed before the switch", "not touched", "unreachable"
SERVES_ON = f"{REFUSED}, serves"  # whoever was asked before it failed


def test_a_stage_touches_nothing_that_runs_and_shows_the_conflicts(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    hosts = {"h0": HOSTS["refused"], "h1": {**GOOD, "fails": "stage_release"}}
    fleet = Fleet(ansible_playbook, tmp_path, hosts)
    code, output = fleet.run("stage.yml")
    assert failure(output, "h0") == "", output
    said = " ".join(output.split())
    assert "WARNING: h0: the container trial is in the way. Stop it" in said
    assert f"h0: release {R2} (Qwen/Qwen3-8B-FP8) is staged" in said
    assert (code, [verdict for _down, verdict in rows(output).values()]) == (2, ["staged", "not staged, serves"])
    for host in hosts:
        assert fleet.calls(host, "systemd", "vllm_takeover") == []
        assert fleet.calls(host, "deploy_lock")[-1][1]["state"] == "absent"
    assert fleet.link("h1", "current") == R1


@pytest.mark.parametrize(
    ("hosts", "verdicts"),
    [
        ([GOOD] * 2, [READY] * 2),
        ([{**GOOD, "fails": "stage_release"}, GOOD, GOOD], [SERVES_ON, UNTOUCHED, UNTOUCHED]),
        ([GOOD, HOSTS["broken"], GOOD], [READY, "rolled back", UNTOUCHED]),
        # five hosts: the last three are one batch
        ([GOOD, GOOD, {**GOOD, "fails": "validate"}, GOOD, GOOD], [READY, READY, *[REFUSED] * 3]),
        ([GOOD, GOOD, {**GOOD, "fails": "memory_plan"}, GOOD, LOST], [READY, READY, SERVES_ON, READY, DEAD]),
    ],
)
def test_one_table_in_the_end(
    hosts: list[dict[str, t.Any]], verdicts: list[str], tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    fleet = Fleet(ansible_playbook, tmp_path, {f"h{number}": host for number, host in enumerate(hosts)})
    code, output = fleet.run()
    assert [verdict for _down, verdict in rows(output).values()] == verdicts, output
    assert (code != 0) == (set(verdicts) != {READY})
    for name, (_down, verdict) in rows(output).items():
        if verdict in (UNTOUCHED, SERVES_ON):
            assert re.search(rf"^{name} +{R1} +- +- +{verdict}", output, re.MULTILINE), output
        if verdict == DEAD:
            assert re.search(rf"^{name} +not asked +- +- +{verdict}", output, re.MULTILINE), output


def test_a_host_that_another_run_deploys_is_read(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    refused = {"failed": True, "msg": "Another run works on h0: somebody"}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {**GOOD, "answers": {"deploy_lock": [refused, {}]}}, "h1": GOOD})
    _code, output = fleet.run()
    assert re.search(rf"^h0 +{R1} +- +- +{REFUSED}$", output, re.MULTILINE), output
    assert re.search(rf"^h1 +{R1} +- +- +{UNTOUCHED}$", output, re.MULTILINE), output


def test_hosts_of_later_batches_are_read_after_a_failure_only(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {**GOOD, "wanted": R1}, "h1": LOST})
    code, output = fleet.run()
    assert code != 0
    assert output.count("UNREACHABLE!") == 1, output  # when it is the turn of h1
    assert "h0 -> h1" not in output


def test_the_table_of_those_that_go_back(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    back = {"good": [R1, R2], "current": R2, "answers": {"vllm_health": [health("ready", R1)]}}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": back, "h1": {**back, "good": [R2]}, "h2": back})
    code, output = fleet.run("rollback.yml")
    assert (code, [verdict for _down, verdict in rows(output).values()]) == (
        2,
        [READY, f"{REFUSED}, serves", UNTOUCHED],
    ), output
    assert re.search(rf"^h1 +{R2} +- +- +{REFUSED}", output, re.MULTILINE), output
    assert re.search(rf"^h2 +{R2} +- +- +{UNTOUCHED}", output, re.MULTILINE), output
    assert (fleet.link("h0", "current"), fleet.link("h0", "good")) == (R1, R1)
    words = f"(release {R1}: profile unknown, image unknown)"  # as the stand-ins have it
    assert f"h0 serves m again {words}" in " ".join(output.split())
