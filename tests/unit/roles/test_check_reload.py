# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three roles need a reload of systemd; none of them takes the GPU from a container that got it without CDI."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from support.playbook import THIS_MACHINE, AnsiblePlaybook, Run

ROLES = {
    "fabric": ("__fabric_services", "netplan"),
    "gateway": ("__gateway_host", "HAProxy"),
    "monitoring": ("__monitoring_host", "a changed unit"),
}
SERVES = [{"service": "vllm", "container": "vllm-m", "planned_bytes": 1, "release": "0123456789ab"}]
MEMORY = {"total_bytes": 130674379980, "available_bytes": 124554051584}
LEGACY = {"memory": MEMORY, "services": SERVES}
CDI = {**LEGACY, "toolkit": {"cdi_devices": ["nvidia.com/gpu=all"]}, "docker": {"cdi_spec_dirs": ["/etc/cdi"]}}
SPARKS = {
    "legacy": {"state": LEGACY},
    "accepted": {"state": LEGACY, **{f"{role}_reload_while_serving": True for role in ROLES}},
    "idle": {"state": {**LEGACY, "services": []}},
    "cdi": {"state": CDI},
}


def play(role: str, hosts: str, reached: str = "") -> dict[str, t.Any]:
    include = {"name": f"dgxspark.vllm.{role}", "tasks_from": "check_reload.yml", "rolespec_validate": False}
    tasks = [{"include_role": include}, {"debug": {"msg": reached or f"{role} goes on"}}]
    # the next play is for the hosts that this one refuses, too
    rescue = [{"debug": {"msg": "{{ ansible_failed_result.msg }}"}}]
    return {"hosts": hosts, "gather_facts": False, "tasks": [{"block": tasks, "rescue": rescue}]}


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> Run:
    folder: Path = tmp_path_factory.mktemp("reload")
    others = {"stranger": {"state": CDI}}  # how its containers got the GPU is not known
    groups = {"spark": {"hosts": SPARKS}, "others": {"hosts": others}}
    (folder / "hosts.json").write_text(json.dumps({"all": {"children": groups, "vars": THIS_MACHINE}}))
    plays = [play(role, "all") for role in ("gateway", "monitoring")]
    # a host that the role fabric refuses stops all hosts of the play
    plays += [play("fabric", host) for host in (*SPARKS, *others)] + [play("fabric", "all", "no host goes on")]
    (folder / "play.yml").write_text(json.dumps(plays))
    told = {told: {"spark": "{{ state }}"} for told, _by in ROLES.values()}
    needed = {"__gateway_reloads": True, "__monitoring_reloads": True}
    return ansible_playbook(folder / "play.yml", inventory=folder / "hosts.json", **told, **needed)


@pytest.mark.parametrize("role", ROLES)
def test_a_reload_may_not_take_the_gpu_away(run: Run, role: str) -> None:
    for host in ("legacy", "stranger"):
        refusal = f"{host} serves without CDI, and {ROLES[role][1]} needs a reload of systemd, which can take the GPU"
        assert refusal in run.words, run.output
        assert f"ok: [{host}] => msg: {role} goes on" not in run.words
    assert f"{role}_reload_while_serving: true and restart the service afterwards" in run.words


@pytest.mark.parametrize("role", ROLES)
def test_what_takes_nothing_away_goes_on(run: Run, role: str) -> None:
    for host in ("accepted", "idle", "cdi"):
        assert f"ok: [{host}] => msg: {role} goes on" in run.words, run.output


def test_all_hosts_of_a_fabric_stop_together(run: Run) -> None:
    assert "no host goes on" not in run.words, run.output
    assert run.code != 0
