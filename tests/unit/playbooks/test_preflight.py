# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/preflight.yml on hosts that each lack something: no failed check hides those of another host."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from support.playbook import THIS_MACHINE, AnsiblePlaybook

UNREACHABLE = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,  # nobody listens there
    "ansible_ssh_common_args": "-F /dev/null -o BatchMode=yes",
}
HOSTS = {"dead": UNREACHABLE, "mistyped": {"vllm_modell": "qwen3-8b-fp8"}, "strange": {"vllm_port": 8001}}
HOSTS["empty"] = {"vllm_mounts": None}
HOSTS["alone"] = {"vllm_nodes": 3}


def test_every_host_is_checked_as_far_as_possible(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    common = {**THIS_MACHINE, "ansible_become": False, "vllm_preflight_file": str(tmp_path / "preflight.json")}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": HOSTS, "vars": common}}), encoding="utf-8")
    run = ansible_playbook("playbooks/preflight.yml", inventory=inventory)
    assert run.code == 4, run.output  # one is unreachable
    assert "\n5 hosts: a deployment would fail on 5\n" in run.output
    report = json.loads((tmp_path / "preflight.json").read_text(encoding="utf-8"))
    assert report["failed"] == sorted(HOSTS)
    found = {(check["host"], check["check"]): check for check in report["checks"]}
    assert found["mistyped", "variables"]["text"] == "vllm_modell: unknown variable; did you mean vllm_model?"
    assert found["mistyped", "SSH, sudo"]["result"] == "ok"
    assert found["dead", "variables"]["result"] == "ok"
    assert found["dead", "SSH, sudo"]["result"] == "failed"
    assert found["dead", "clock"]["result"] == found["mistyped", "service"]["result"] == "not checked"
    assert found["empty", "variables"]["text"].startswith("vllm_mounts: ")
    assert found["alone", "variables"]["text"].startswith("vllm_nodes: ")
    assert found["empty", "mounts"]["result"] == found["empty", "disk"]["result"] == "not checked"
    assert found["strange", "hardware"]["text"].startswith("strange is not a DGX Spark: ")
    for host in HOSTS:
        assert run.count(host, "changed") == 0


def test_hosts_that_serve_together_are_compared(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """Of a host that was not read nothing is known, and that does not end the check of the other one."""
    common = {
        **THIS_MACHINE,
        "ansible_become": False,
        "spark_host_allow_other_hardware": True,
        "vllm_preflight_file": str(tmp_path / "preflight.json"),
        "vllm_nodes": ["one", "dead"],
        "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3",
    }
    hosts = {"one": {"vllm_node_address": "10.0.0.1"}, "dead": {**UNREACHABLE, "vllm_node_address": "10.0.0.2"}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": hosts, "vars": common}}), encoding="utf-8")
    run = ansible_playbook("playbooks/preflight.yml", inventory=inventory)
    assert run.code == 4, run.output
    report = json.loads((tmp_path / "preflight.json").read_text(encoding="utf-8"))
    found = {(check["host"], check["check"]): check for check in report["checks"]}
    assert found["one", "variables"]["result"] == "ok"
    assert (found["one", "group"]["result"], found["dead", "group"]["result"]) == ("ok", "not checked")
    assert found["one", "group"]["text"] == "one, dead serve one model together"


def test_a_wrong_query_ends_before_a_host_is_asked(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": {"dead": UNREACHABLE}}}), encoding="utf-8")
    run = ansible_playbook("playbooks/preflight.yml", "-e", "preflight_query=[?result=='failed'", inventory=inventory)
    assert run.code == 2
    assert "preflight_query: \"[?result=='failed'\" is not a JMESPath expression" in run.words.replace("''", "'")
    assert "Read the host" not in run.output
