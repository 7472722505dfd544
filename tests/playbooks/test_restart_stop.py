# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restart.yml and stop.yml on hosts of stand-ins: what is asked of systemd, and what is refused."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from role_on_standins import R1, R2, Fleet, failure, health

from support.playbook import THIS_MACHINE, AnsiblePlaybook

OBEYS = {"found": True, "reached": True, "sessions": 0, "alone": False, "changed": True}
ANSWERS = {"vllm_health": [health("ready", R1)], "gateway_server": [OBEYS]}
SERVES: dict[str, t.Any] = {"good": [R2, R1], "current": R1, "answers": ANSWERS}
TAKEN = {"conflicts": [], "holders": [{"description": "the container mine", "running": True}]}
HELD = {"conflicts": [{"id": "port_in_use", "text": "Port 8000 is held by sshd"}], "holders": []}
SILENT = {"failed": True, "msg": "it is silent", "cause": {"id": "x", "change": {}}}


def fleet_of(ansible_playbook: AnsiblePlaybook, folder: Path, hosts: dict[str, dict[str, t.Any]]) -> Fleet:
    """All of them have the unit of the service, and one gateway before them."""
    fleet = Fleet(ansible_playbook, folder, hosts)
    inventory = yaml.safe_load((folder / "hosts.yml").read_text())
    (folder / "hosts.yml").write_text(yaml.safe_dump({**inventory, "gateway": {"hosts": {"gw": THIS_MACHINE}}}))
    units = folder / "units"
    units.mkdir()
    (units / "vllm.service").write_text("# Written by dgxspark.vllm.\n")
    mine = folder / "collections" / "ansible_collections" / "dgxspark" / "vllm"
    for path in ("plugins/module_utils/_host/services.py", "roles/vllm/tasks/deploy/read_installed.yml"):
        text = (mine / path).read_text()
        assert "/etc/systemd/system" in text
        (mine / path).write_text(text.replace("/etc/systemd/system", str(units)))
    return fleet


def order(fleet: Fleet, host: str) -> list[str]:
    return [its["state"] for _name, its in fleet.calls(host, "gateway_server", "systemd")]


def test_restart(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    hosts = {
        "serves": SERVES,
        "silent": {**SERVES, "answers": {**ANSWERS, "vllm_health": [SILENT]}},
        "bare": {},
        "taken": {**SERVES, "answers": {**ANSWERS, "vllm_conflicts_info": [TAKEN]}},
        "held": {**SERVES, "answers": {**ANSWERS, "vllm_conflicts_info": [HELD]}},
    }
    fleet = fleet_of(ansible_playbook, tmp_path, hosts)
    code, output = fleet.run("restart.yml", one_batch=True)
    assert code == 2, output
    asked = [(its["state"], its["enabled"]) for _name, its in fleet.calls("serves", "systemd")]
    assert (asked, fleet.link("serves", "current")) == ([("restarted", True)], R1)
    assert order(fleet, "serves") == ["drained", "restarted", "ready"]
    (proof,) = (its for _name, its in fleet.calls("serves", "vllm_health"))
    assert proof["wait"]
    assert f"serves serves m again (release {R1}" in " ".join(output.split())
    # nothing else is started in its place
    assert len(fleet.calls("silent", "systemd")) == 1
    assert "silent does not serve after the restart: it is silent" in failure(output, "silent")
    assert fleet.link("silent", "current") == R1
    assert fleet.calls("bare", "systemd") == []
    assert "bare has no service vllm of this collection" in failure(output, "bare")
    # a start would meet them
    assert fleet.calls("taken", "systemd") == fleet.calls("held", "systemd") == []
    assert "taken was not restarted, because the container mine runs in its place. Nothing" in failure(output, "taken")
    assert "held was not restarted. Port 8000 is held by sshd" in failure(output, "held")
    assert re.search(r"^held .* failed before the restart$", output, re.MULTILINE), output
    for host in hosts:
        assert fleet.calls(host, "deploy_lock")[-1][1]["state"] == "absent"


# Once it was told to disable the unit, that is stopped and disabled.
SYSTEMCTL = """#!/bin/sh
case $1 in
  is-active) [ -e {told} ] && echo inactive || echo active ;;
  is-enabled) [ -e {told} ] && echo disabled || echo enabled ;;
  *) echo "$@" >>{told} ;;
esac
"""


def test_stop(tmp_path: Path, ansible_playbook: AnsiblePlaybook, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = fleet_of(ansible_playbook, tmp_path, {"serves": SERVES, "bare": {}})
    systemctl, told = tmp_path / "bin" / "systemctl", tmp_path / "told"
    systemctl.parent.mkdir()
    systemctl.write_text(SYSTEMCTL.format(told=told))
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    code, output = fleet.run("stop.yml", one_batch=True)
    assert code == 2, output
    assert order(fleet, "serves") == ["drained", "stopped", "ready"]
    words = " ".join(output.split())
    assert "serves: vllm.service is stopped, also after a reboot. playbooks/restart.yml -l serves starts it" in words
    assert fleet.calls("bare", "systemd") == []
    assert "bare has no service vllm of this collection" in failure(output, "bare")
    # again
    fleet.run("stop.yml", one_batch=True)
    assert order(fleet, "serves") == ["drained", "stopped", "ready", "stopped", "ready"]
    # a reload of systemd can take the GPU from another container
    assert told.read_text() == "disable --no-reload vllm.service\n"
