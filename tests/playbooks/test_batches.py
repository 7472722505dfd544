# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that fails, or is lost, ends a rollout before later batches. The plays as they are, with other work."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

HOSTS = [f"h{number}" for number in range(1, 13)]  # in batches: h1; h2 to h4; the rest
LOCAL = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
# The shape of the role: what fails is rescued, fails again, and something is given back in any case.
FAILS = {
    "block": [
        {
            "block": [{"ansible.builtin.fail": {"msg": "broken"}, "when": "inventory_hostname == 'h2'"}],
            "rescue": [{"ansible.builtin.fail": {"msg": "rolled back"}}],
        },
        {"ansible.builtin.debug": {"msg": "touched {{ inventory_hostname }}"}},
    ],
    "always": [{"ansible.builtin.debug": {"msg": "given back"}}],
}


def run(
    ansible_playbook: AnsiblePlaybook, folder: Path, playbook: str, work: list[dict[str, Any]], inventory: str
) -> tuple[int, str]:
    play = yaml.safe_load((ROOT / "playbooks" / playbook).read_text())[-1]
    for key in ("roles", "tasks"):
        play.pop(key, None)
    play.update(tasks=work, become=False)
    before = {"hosts": "spark", "gather_facts": False, "tasks": []}  # from the second play on, variables are known
    (folder / "play.yml").write_text(yaml.safe_dump([before, play]))
    (folder / "hosts.ini").write_text(inventory)
    done = ansible_playbook("play.yml", inventory="hosts.ini", folder=folder)
    return done.code, done.output


def touched(output: str) -> list[str]:
    """The hosts of a batch are told as they end."""
    return sorted(re.findall(r"touched (h\d+)", output))


@pytest.mark.parametrize("playbook", ["deploy.yml", "rollback.yml"])
def test_one_failure_ends_the_rollout(playbook: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    hosts = "[spark]\n" + "".join(f"{host} {LOCAL}\n" for host in HOSTS)
    code, output = run(ansible_playbook, tmp_path, playbook, [FAILS], hosts)
    assert code != 0
    assert touched(output) == ["h1", "h3", "h4"], output


@pytest.mark.parametrize("playbook", ["rollback.yml", "restart.yml", "stop.yml", "maintain.yml"])
def test_the_batches_are_those_of_a_deployment(playbook: str) -> None:
    deploy, play = (yaml.safe_load((ROOT / "playbooks" / name).read_text())[-1] for name in ("deploy.yml", playbook))
    for keyword in ("hosts", "become", "serial", "max_fail_percentage", "pre_tasks"):
        # in the first play of a run the lookup knows no hosts
        plain = playbook == "stop.yml" and keyword == "serial"
        assert play[keyword] == ([1, "25%", "100%"] if plain else deploy[keyword])


@pytest.mark.parametrize("playbook", ["prepare.yml", "deploy.yml"])
def test_a_lost_host_ends_the_rollout(playbook: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    lost = "ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1"
    hosts = "[spark]\n" + "".join(f"{host} {lost if host == 'h2' else LOCAL}\n" for host in HOSTS)
    work = [{"ansible.builtin.ping": {}}, {"ansible.builtin.debug": {"msg": "touched {{ inventory_hostname }}"}}]
    code, output = run(ansible_playbook, tmp_path, playbook, work, hosts)
    assert code != 0
    assert touched(output) == ["h1", "h3", "h4"], output


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_the_lookup_is_not_used_in_the_first_play(path: Path) -> None:
    """There it knows no variables of hosts, and would put services of one machine into one batch."""
    assert "dgxspark.vllm.batches" not in str(yaml.safe_load(path.read_text())[0].get("serial"))


def test_services_of_one_machine_are_in_no_batch_together(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    hosts = "[spark]\n" + "".join(f"{host} {LOCAL} ansible_host=10.0.0.{at % 6}\n" for at, host in enumerate(HOSTS))
    work = [{"ansible.builtin.debug": {"msg": "batch of {{ ansible_play_batch | length }}"}, "run_once": True}]
    code, output = run(ansible_playbook, tmp_path, "deploy.yml", work, hosts)
    assert code == 0, output
    assert re.findall(r"batch of (\d+)", output) == ["1", "3", "6", "2"], output  # and not 1, 3, 8
