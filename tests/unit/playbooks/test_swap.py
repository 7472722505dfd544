# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two services that take turns, on hosts of stand-ins: who is started and stopped, and who only waits."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
import yaml
from role_on_standins import R2, Fleet, health

from support.playbook import AnsiblePlaybook

ONE, TWO = "m-vllm", "m-vllm-b"
BROKEN = {"failed": True, "msg": "it is broken", "cause": {"id": "x", "change": {}}}
# It prints what the units are, and notes what it is told.
SYSTEMCTL = """#!/bin/sh
case $1 in
  show) cat {folder}/units.txt ;;
  list-unit-files) printf 'vllm-b.service disabled enabled\nvllm.service enabled enabled\n' ;;
  *) echo "$@" >>{folder}/told ;;
esac
"""
UNITS = """Id=vllm-b.service
ActiveState=inactive

Id=vllm.service
ActiveState=active
"""


class Swap(Fleet):
    """Of one machine, of which ONE serves. SPARK are the hosts of the play."""

    def __init__(
        self, ansible_playbook: AnsiblePlaybook, folder: Path, spark: t.Sequence[str], proofs: list[dict[str, t.Any]]
    ) -> None:
        common = {"dgxspark_host": "m", "vllm_swap_group": "big"}
        one = {
            **common,
            "vllm_service_name": "vllm",
            "vllm_home": f"{folder}/{ONE}",
            "good": [R2],
            "current": R2,
            "answers": {"vllm_health": [health("ready", R2)]},
        }
        two = {
            **common,
            "vllm_service_name": "vllm-b",
            "vllm_home": f"{folder}/{TWO}",
            "vllm_port": 8001,
            "answers": {"vllm_health": [health("waiting", unit="inactive"), *proofs]},
        }
        super().__init__(ansible_playbook, folder, {ONE: one, TWO: two})
        (folder / TWO / ".dgxspark-vllm").write_text(json.dumps({"service": "vllm-b", "made": []}))
        found = yaml.safe_load((folder / "hosts.yml").read_text())
        every = {"m": {"hosts": found["spark"]["hosts"], "vars": found["spark"]["vars"]}}
        (folder / "hosts.yml").write_text(yaml.safe_dump({**every, "spark": {"hosts": dict.fromkeys(spark, {})}}))
        (folder / "units.txt").write_text(UNITS)
        (folder / "bin").mkdir()
        (folder / "bin" / "systemctl").write_text(SYSTEMCTL.format(folder=folder))
        (folder / "bin" / "systemctl").chmod(0o755)

    def run_it(self, playbook: str, check: bool = False) -> tuple[int, str]:
        code, output = self.run(playbook, path=f"{self.folder / 'bin'}:{os.environ['PATH']}", check=check)
        return code, " ".join(output.split())

    def told(self) -> str:
        told = self.folder / "told"
        return told.read_text() if told.exists() else ""

    def units(self, host: str) -> list[tuple[str, str, t.Any]]:
        return [(its["name"], its["state"], its.get("enabled")) for _name, its in self.calls(host, "systemd")]


@pytest.mark.parametrize("check", [False, True])
def test_a_deployment_starts_no_other_one(tmp_path: Path, ansible_playbook: AnsiblePlaybook, check: bool) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [ONE, TWO], [])
    code, words = fleet.run_it("deploy.yml", check)
    assert code == 0, words
    assert (fleet.units(ONE), fleet.units(TWO), fleet.told()) == ([], [], "")
    assert f"{'would be' if check else 'is'} staged and waits; m-vllm has the turn of swap group big" in words
    assert f"{TWO} - {R2} - {'would wait' if check else 'waiting'}" in words


def test_a_swap(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [health("ready", R2)])
    code, words = fleet.run_it("swap.yml")
    assert code == 0, words
    # who comes back with the host is changed first, and nothing reloads systemd
    assert fleet.told() == "enable --no-reload vllm-b.service\ndisable --no-reload vllm.service\n"
    assert fleet.units(TWO) == [("vllm.service", "stopped", None), ("vllm-b.service", "restarted", True)]
    assert "Waits: m-vllm; playbooks/swap.yml -l m-vllm swaps back" in words
    locks = [(its["service"], its.get("state")) for _name, its in fleet.calls(TWO, "deploy_lock")]
    assert set(locks) == {(name, state) for name in ("vllm", "vllm-b") for state in (None, "absent")}


def test_a_swap_that_fails_gives_the_turn_back(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [BROKEN, health("ready", R2)])
    code, words = fleet.run_it("swap.yml")
    assert code == 2
    assert "m-vllm serves again, as before. The new release failed: it is broken" in words, words
    assert fleet.units(TWO)[-2:] == [("vllm-b.service", "stopped", False), ("vllm.service", "started", True)]
    proof = fleet.calls(TWO, "vllm_health")[-1][1]
    assert (proof["container"], proof["service"]) == ("vllm-2", "vllm.service")


@pytest.mark.parametrize(
    ("playbook", "code", "line"),
    [
        (
            "restart.yml",
            0,
            "m-vllm-b waits, because m-vllm has the turn of swap group big. playbooks/swap.yml -l m-vllm-b",
        ),
        ("stop.yml", 0, "m-vllm-b waits, because m-vllm has the turn of swap group big; nothing runs of it"),
        ("rollback.yml", 2, "Nothing was changed; roll back m-vllm, or bring this one into service first"),
        ("maintain.yml", 2, "Nothing was changed; maintain m-vllm, or bring this one into service first"),
    ],
)
def test_what_else_is_done_to_one_that_waits(
    playbook: str, code: int, line: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [])
    found, words = fleet.run_it(playbook)
    assert (found, fleet.units(TWO), fleet.told()) == (code, [], ""), words
    assert line in words


@pytest.mark.parametrize(
    ("spark", "group", "line"),
    [
        ([ONE, TWO], "big", "m-vllm and m-vllm-b take turns, so only one of them can be brought into service"),
        ([TWO], "", "m-vllm-b has no vllm_swap_group, so it takes no turns; choose a service that has one"),
    ],
)
def test_what_cannot_be_swapped(
    spark: list[str], group: str, line: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    fleet = Swap(ansible_playbook, tmp_path, spark, [])
    text = (tmp_path / "hosts.yml").read_text()
    (tmp_path / "hosts.yml").write_text(text.replace("vllm_swap_group: big", f"vllm_swap_group: '{group}'"))
    code, words = fleet.run_it("swap.yml")
    assert code == 2, words
    assert line in words
    assert not (tmp_path / TWO / "calls").exists()
