# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two services that take turns, on hosts of stand-ins: who is started and stopped, and who only waits."""

from __future__ import annotations

import json
import os
import re
import shutil
import typing as t
from pathlib import Path

import pytest
import yaml
from role_on_standins import EXTRA, R2, Fleet, health

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

ONE, TWO = "m-vllm", "m-vllm-b"
BROKEN = {"failed": True, "msg": "it is broken", "cause": {"id": "x", "change": {}}}
# The files in active and enabled are the units that are so, unless the module has stopped one. It notes its orders.
SYSTEMCTL = """#!/bin/sh
cd {folder}
verb=$1
state() {{
  module=$(grep -hsF '["systemd", {{"name": "'$1'"' m-vllm/calls m-vllm-b/calls | tail -n 1)
  case $module in *stopped*) echo inactive ;; *) [ -e active/$1 ] && echo active || echo inactive ;; esac
}}
file() {{ [ -e enabled/$1 ] && echo enabled || echo disabled; }}
case $verb in enable|disable|stop) echo "$@" >>told ;; esac
shift
for unit; do
  case $verb:$unit in
    *:-*) ;;
    show:*) printf 'Id=%s\nActiveState=%s\n\n' $unit $(state $unit) ;;
    list-unit-files:*) echo $unit $(file $unit) enabled ;;
    is-active:*) state $unit ;;
    is-enabled:*) file $unit ;;
    enable:*) touch enabled/$unit ;;
    disable:*) rm -f enabled/$unit ;;
    stop:*) rm -f active/$unit ;;
  esac
done
"""
A, B = "vllm.service", "vllm-b.service"


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
        self.set_units([A], [A])
        (folder / "bin").mkdir()
        (folder / "bin" / "systemctl").write_text(SYSTEMCTL.format(folder=folder))
        (folder / "bin" / "systemctl").chmod(0o755)

    def run_it(self, playbook: str, check: bool = False) -> tuple[int, str]:
        code, output = self.run(playbook, path=f"{self.folder / 'bin'}:{os.environ['PATH']}", check=check)
        return code, " ".join(output.split())

    def set_units(self, active: t.Sequence[str], enabled: t.Sequence[str]) -> None:
        for name, units in (("active", active), ("enabled", enabled)):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
            for unit in units:
                (self.folder / name / unit).touch()

    def enabled(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "enabled").iterdir())

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


def test_with_check_one_that_waits_already_is_as_wanted(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [ONE, TWO], [])
    (tmp_path / TWO / "releases" / R2 / "good").write_text("1\n")
    code, words = fleet.run_it("deploy.yml", check=True)
    assert code == 0, words
    assert f"{TWO} - {R2} - waiting" in words


def test_a_swap(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [health("ready", R2)])
    code, words = fleet.run_it("swap.yml")
    assert code == 0, words
    # who comes back with the host is changed first, and nothing reloads systemd
    assert fleet.told() == "enable --no-reload vllm-b.service\ndisable --no-reload vllm.service\nstop vllm.service\n"
    assert fleet.units(TWO) == [(B, "restarted", True)]
    assert not (tmp_path / TWO / "had_turn").exists()
    assert "Waits: m-vllm; playbooks/swap.yml -l m-vllm swaps back" in words
    locks = [(its["service"], its.get("state")) for _name, its in fleet.calls(TWO, "deploy_lock")]
    assert set(locks) == {(name, state) for name in ("vllm", "vllm-b") for state in (None, "absent")}


def test_a_swap_that_fails_gives_the_turn_back(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [BROKEN, health("ready", R2)])
    code, words = fleet.run_it("swap.yml")
    assert code == 2
    assert "m-vllm serves again, as before. The new release failed: it is broken" in words, words
    assert fleet.units(TWO)[-2:] == [(B, "stopped", None), (A, "started", None)]
    assert fleet.told().endswith("enable --no-reload vllm.service\ndisable --no-reload vllm-b.service\n")
    assert not (tmp_path / TWO / "had_turn").exists()
    proof = fleet.calls(TWO, "vllm_health")[-1][1]
    assert (proof["container"], proof["service"]) == ("vllm-2", "vllm.service")


def test_an_interruption_after_the_stop(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """The next deployment finds the note, and finishes the swap."""
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [health("ready", R2)])
    here = tmp_path / "collections/ansible_collections/dgxspark/vllm/roles/vllm/tasks/swap/take_turn.yml"
    tasks = here.read_text()
    here.write_text(tasks + "\n- ansible.builtin.meta: end_host\n")
    fleet.run_it("swap.yml")
    note = tmp_path / TWO / "had_turn"
    assert (note.read_text(), note.stat().st_mode & 0o777, fleet.enabled()) == (f"{A}\n", 0o600, [B])
    here.write_text(tasks)
    code, words = fleet.run_it("deploy.yml")
    assert code == 0, words
    assert "Waits: m-vllm; playbooks/swap.yml -l m-vllm swaps back" in words
    assert (note.exists(), fleet.enabled()) == (False, [B])


def test_the_time_without_a_server_begins_after_the_drain() -> None:
    tasks = ROOT / "roles" / "vllm" / "tasks"
    names = [task["name"] for task in yaml.safe_load((tasks / "swap" / "take_turn.yml").read_text())]
    first, second, third = (
        next(number for number, name in enumerate(names) if part in name)
        for part in ("out of the gateways", "time of the stop", "and stop that")
    )
    assert first < second < third
    steps = [task["name"] for task in yaml.safe_load((tasks / "deploy" / "activate.yml").read_text())]
    assert steps.index("End the turn of the other service") < steps.index("Start the release")


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


def installed(folder: Path) -> None:
    """What is installed is what a stand-in answers, not what this machine has."""
    read = folder / "collections/ansible_collections/dgxspark/vllm/roles/vllm/tasks/deploy/read_installed.yml"
    read.write_text(json.dumps([{"ansible.builtin.import_tasks": "deploy/read_releases.yml"}]))


def test_of_a_stopped_group_only_the_first_one_would_restart(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [ONE, TWO], [])
    installed(tmp_path)
    fleet.set_units([], [])
    code, words = fleet.run_it("restart.yml", check=True)
    assert (code, fleet.units(ONE), fleet.units(TWO), fleet.told()) == (0, [], [], ""), words
    assert "m-vllm-b would wait, because m-vllm would have the turn of swap group big. playbooks/swap.yml" in words
    assert re.search(r"m-vllm [^ ]+ [^ ]+ - would restart m-vllm-b - - - would wait", words), words


def test_maintaining_the_one_that_has_the_turn_is_enough(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [ONE, TWO], [])
    installed(tmp_path)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    code, output = fleet.run("maintain.yml", path=path, extra={**EXTRA, "vllm_os_upgrade": "none"})
    assert (code, fleet.units(TWO)) == (0, []), output
    assert re.search(r"m-vllm-b .* waiting", output), output


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


def test_a_stop_of_all_of_them(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """The second one was only staged: nothing is installed of it, and it is no longer one that waits."""
    fleet = Swap(ansible_playbook, tmp_path, [ONE, TWO], [])
    read = tmp_path / "collections/ansible_collections/dgxspark/vllm/roles/vllm/tasks/deploy/read_installed.yml"
    read.write_text(
        json.dumps([{"ansible.builtin.fail": {"msg": "not deployed"}, "when": f"inventory_hostname == '{TWO}'"}])
    )
    code, words = fleet.run_it("stop.yml")
    assert code == 0, words
    assert (fleet.units(ONE), fleet.units(TWO), fleet.enabled()) == ([(A, "stopped", None)], [], [])
    assert "m-vllm-b: no service of swap group big has the turn; nothing runs of it" in words
    assert "m-vllm-b: vllm-b.service is stopped" not in words


def test_a_deployment_puts_right_what_comes_back(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """A swap was interrupted before the stop."""
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [])
    fleet.set_units([A], [B])
    (tmp_path / TWO / "had_turn").write_text(f"{A}\n")
    code, words = fleet.run_it("deploy.yml")
    assert code == 0, words
    assert (fleet.enabled(), fleet.units(TWO)) == ([A], [])
    assert "staged and waits; m-vllm has the turn" in words
    locks = [(its["service"], its.get("state")) for _name, its in fleet.calls(TWO, "deploy_lock")]
    assert set(locks) == {(name, state) for name in ("vllm", "vllm-b") for state in (None, "absent")}


def test_a_deployment_resumes_a_swap(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """It was interrupted after the stop: who served before serves again if the new one fails."""
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [BROKEN, health("ready", R2)])
    fleet.set_units([], [B])
    (tmp_path / TWO / "had_turn").write_text(f"{A}\n")
    code, words = fleet.run_it("deploy.yml")
    assert code == 2
    assert "m-vllm serves again, as before. The new release failed: it is broken" in words, words
    assert fleet.units(TWO)[-1] == (A, "started", None)
    assert (fleet.enabled(), (tmp_path / TWO / "had_turn").exists()) == ([A], False)


@pytest.mark.parametrize("playbook", ["deploy.yml", "swap.yml"])
def test_two_that_run_are_no_group_yet(playbook: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [])
    fleet.set_units([A, B], [A, B])
    code, words = fleet.run_it(playbook)
    assert code == 2, words
    assert "vllm-b.service and vllm.service run on this host, and take turns now (swap group big)" in words
    assert "stop all but one first: playbooks/stop.yml -l m-vllm" in words
    assert (fleet.units(TWO), fleet.told()) == ([], "")


@pytest.mark.parametrize(("conflicts", "code"), [("vllm-b.service vllm-c.service", 2), ("vllm-c.service", 0)])
def test_one_that_has_left_a_group(
    conflicts: str, code: int, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    """The unit of the other one still has it, unless it was deployed since."""
    fleet = Swap(ansible_playbook, tmp_path, [TWO], [health("ready", R2)])
    hosts = tmp_path / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("vllm_swap_group: big", "vllm_swap_group: ''"))
    answers = json.loads((tmp_path / TWO / "answers.json").read_text())
    answers["spark_info"][0]["spark"]["units"] = {B: {"conflicted_by": [A], "needs_reload": False}}
    (tmp_path / TWO / "answers.json").write_text(json.dumps(answers))
    (tmp_path / A).write_text(f"[Unit]\nConflicts={conflicts}\n")
    check = tmp_path / "collections/ansible_collections/dgxspark/vllm/roles/vllm/tasks/swap/check_rivals.yml"
    check.write_text(check.read_text().replace("/etc/systemd/system", str(tmp_path)))
    found, words = fleet.run_it("deploy.yml")
    assert found == code, words
    if code:
        assert "vllm.service of m still takes turns with vllm-b.service by its unit: the start would stop it" in words
    assert [state for _name, state, _enabled in fleet.units(TWO)] == ([] if code else ["restarted"])
