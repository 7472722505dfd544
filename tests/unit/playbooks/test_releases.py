# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/releases.yml on hosts that cannot be read: they are in the table, and say why."""

from __future__ import annotations

from pathlib import Path

import yaml

from support.playbook import THIS_MACHINE, AnsiblePlaybook

HOSTS = {
    "dead": {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,  # nobody listens there
        "ansible_ssh_common_args": "-F /dev/null -o BatchMode=yes",
    },
    "empty": {"vllm_home": "/opt/no-such-folder-anywhere"},
    "mistyped": {"vllm_model": "qwen3-9b"},
}


def test_every_host_is_in_the_table(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    inventory = tmp_path / "hosts.yml"
    common = {**THIS_MACHINE, "ansible_become": False}
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": HOSTS, "vars": common}}), encoding="utf-8")
    run = ansible_playbook("playbooks/releases.yml", inventory=inventory)
    lines = run.output.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.split()[:3] == ["host", "release", "verdict"])
    dead, empty, mistyped = lines[begin + 1 : begin + 4]
    assert dead.startswith("dead ") and "not read: " in dead and "127.0.0.1" in dead, run.output
    assert empty.split()[:3] == ["empty", "-", "none"]
    assert mistyped.startswith("mistyped ") and 'not read: vllm_model: "qwen3-9b" is not in the catalog' in mistyped
