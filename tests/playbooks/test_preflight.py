# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/preflight.yml on hosts that each lack something: no failed check hides those of another host."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, UNREACHABLE, AnsiblePlaybook
from support.services import KNOWN, resolved, spark, values

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
    assert (found["mistyped", "driver"]["needs"], found["mistyped", "SSH, sudo"]["needs"]) == (["service"], [])
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


IMAGE = "registry.example/vllm:1"
RELEASE = {"__vllm_waits_for": {}, "__vllm_switch": True, "__vllm_release": "18c240000000", "vllm_gpu": "auto"}
CHANGES = {"__container_runtime_gpu_changes": True}
KEEPS = {"__container_runtime_gpu_changes": False}
LATER = ("not checked", f"{IMAGE} can be asked for after playbooks/prepare.yml")


@pytest.mark.parametrize(
    ("task", "variables", "result", "text"),
    [
        (
            "Check what is in the places of the service",
            {**RELEASE, **KEEPS},
            "ok",
            "release 18c240000000 would be deployed",
        ),
        ("Check what is in the places of the service", {**RELEASE, **CHANGES}, "ok", "a release would be deployed; "),
        (
            "Check what is in the places of the service",
            {**RELEASE, **CHANGES, "vllm_gpu": "cdi"},
            "ok",
            "release 18c240000000 would be deployed",
        ),
        (
            "Check the image",
            {"__vllm_image_wanted": {"pulled": False, "waits": False}},
            "ok",
            f"{IMAGE} is on the host",
        ),
        (
            "Check the image",
            {"__vllm_image_wanted": {"pulled": True, "waits": False}},
            "ok",
            f"{IMAGE} would be pulled",
        ),
        ("Check the image", {"__vllm_image_wanted": {"pulled": True, "waits": True}}, *LATER),
        ("Check the image", {"__vllm_image_wanted": {"skipped": True}}, *LATER),
    ],
)
def test_a_host_that_is_not_prepared_yet(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, task: str, variables: dict[str, object], result: str, text: str
) -> None:
    """The outcome of one check, whose tasks have run. It keeps no check from being made that needs it."""
    tasks = ROOT / "roles/vllm/tasks"
    (play,) = yaml.safe_load((tasks / "preflight.yml").read_text(encoding="utf-8"))
    block = next(each["block"] for each in play["block"] if each["name"] == "Make the checks of a host that serves")
    check = next(each for each in block if each["name"] == task)
    name = check["vars"]["__vllm_preflight_check"]["name"]
    include = {"ansible.builtin.include_tasks": str(tasks / "preflight/check.yml")}
    done = {**check["vars"], "__vllm_preflight_check": {"name": name, "role": "vllm", "tasks": []}}
    after = {"__vllm_preflight_check": {"name": "after", "role": "vllm", "tasks": [], "needs": [name]}}
    common = {**THIS_MACHINE, "__vllm_preflight": [], "__vllm_resolved": {"image_ref": IMAGE}, "__vllm_copied_from": ""}
    common |= variables
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"a": {}}, "vars": common}}))
    show = {"ansible.builtin.copy": {"content": "{{ __vllm_preflight | to_json }}", "dest": str(tmp_path / "found")}}
    plays = [
        {"hosts": "all", "gather_facts": False, "tasks": [{**include, "vars": done}, {**include, "vars": after}, show]}
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    run = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml")
    assert run.code == 0, run.output
    first, second = json.loads((tmp_path / "found").read_text())
    assert (first["check"], first["result"], second["result"]) == (name, result, "ok")
    assert first["text"].startswith(text)


def test_a_wrong_query_ends_before_a_host_is_asked(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": {"dead": UNREACHABLE}}}), encoding="utf-8")
    run = ansible_playbook("playbooks/preflight.yml", "-e", "preflight_query=[?result=='failed'", inventory=inventory)
    assert run.code == 2
    assert "preflight_query: \"[?result=='failed'\" is not a JMESPath expression" in run.words.replace("''", "'")
    assert "Read the host" not in run.output


def vars_of(tasks: list[dict[str, t.Any]], name: str) -> dict[str, t.Any] | None:
    for task in tasks:
        inner = vars_of([each for part in ("block", "always") for each in task.get(part, [])], name)
        if inner is not None or task.get("name") == name:
            return inner or dict(task["vars"])
    return None


def test_a_take_over_is_told_with_what_clients_lose(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    tasks = yaml.safe_load((ROOT / "roles/vllm/tasks/preflight.yml").read_text(encoding="utf-8"))
    trial = {"description": "the container trial", "running": True, "listens": "0.0.0.0:8000"}
    typed = values(vllm_api_key="0123456789abcdef0123")
    facts = {
        **{name: typed[name] for name in KNOWN},
        **(vars_of(tasks, "Check the port and the address") or {}),
        "__vllm_resolved": resolved(spark(), vllm_api_key="0123456789abcdef0123").as_dict(),
        "__vllm_release": "0" * 12,
        "__vllm_displaced": [{**trial, "served_names": ["my-model"], "asks_key": False}],
    }
    (tmp_path / "templates").symlink_to(ROOT / "roles/vllm/templates")
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"h": THIS_MACHINE}}}), encoding="utf-8")
    show = {"ansible.builtin.debug": {"msg": "{{ __vllm_check_warns }}"}}
    play = [{"hosts": "h", "gather_facts": False, "vars": facts, "tasks": [show]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    run = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml")
    assert run.code == 0, run.output
    for told in (
        "the switch would stop the container trial; clients of other machines lose access: address 0.0.0.0 ->",
        "clients that send no API key are refused; requests for the model my-model fail",
    ):
        assert told in run.words
