# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that lists its services, in a real inventory: what -l selects, what each service has, and what is wrong."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import BIN, ROOT
from support.playbook import AnsiblePlaybook

TWO = [{"name": "vllm", "vllm_model": "qwen3-8b-fp8"}, {"name": "vllm-b", "vllm_port": 8001}]
HOSTS: dict[str, t.Any] = {
    "spark": {
        "hosts": {"spark-01.lan": {"vllm_services": TWO}, "spark02": {}, "spark03": {"ansible_host": "10.0.0.3"}},
        "vars": {
            "vllm_max_model_len": "{{ 4000 + 96 }}",
            "ansible_user": "me",
            "ansible_ssh_common_args": "-o ProxyCommand=false",  # nobody is reached, which is known at once
        },
    },
    "gateway": {"hosts": {"spark-01.lan": {}}},
}


def inventory(folder: Path, **files: t.Any) -> Path:
    """A folder with these files: hosts, and host_vars of spark03."""
    (folder / "hosts.yml").write_text(yaml.safe_dump(files.get("hosts", HOSTS)))
    (folder / "services.yml").write_text("plugin: dgxspark.vllm.services\n")
    (folder / "host_vars").mkdir()
    (folder / "host_vars" / "spark03.yml").write_text(yaml.safe_dump(files.get("spark03", {"vllm_services": TWO})))
    return folder


def listed(folder: Path, *arguments: str) -> tuple[dict[str, t.Any], str]:
    done = subprocess.run(
        [BIN / "ansible-inventory", "-i", folder, "--list", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout), done.stderr


def test_a_host_becomes_a_group_of_its_services(tmp_path: Path) -> None:
    found, warnings = listed(inventory(tmp_path))
    assert warnings == ""
    assert found["spark-01.lan"]["hosts"] == ["spark-01.lan-vllm", "spark-01.lan-vllm-b"]
    assert found["spark"]["hosts"] == [
        *("spark02", "spark-01.lan-vllm", "spark03-vllm", "spark-01.lan-vllm-b", "spark03-vllm-b"),  # in turns
    ]
    assert found["gateway"]["hosts"] == ["spark-01.lan-vllm"]


def test_a_service_has_the_variables_of_its_host_and_its_own(tmp_path: Path) -> None:
    found = listed(inventory(tmp_path))[0]["_meta"]["hostvars"]
    one, other, third = (found[name] for name in ("spark-01.lan-vllm", "spark-01.lan-vllm-b", "spark03-vllm-b"))
    assert one["vllm_service_name"] == "vllm" and one["vllm_model"] == "qwen3-8b-fp8"
    assert other["vllm_service_name"] == "vllm-b" and other["vllm_port"] == 8001 and "vllm_model" not in other
    assert {each["ansible_host"] for each in (one, other)} == {"spark-01.lan"}
    assert third["ansible_host"] == "10.0.0.3" and third["ansible_user"] == "me"
    assert third["dgxspark_host"] == "spark03"


def test_limits_and_templates(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    show = {"ansible.builtin.debug": {"msg": "has {{ vllm_max_model_len }}"}}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "spark", "gather_facts": False, "tasks": [show]}]))
    folder = inventory(tmp_path)
    run = ansible_playbook(folder / "play.yml", "-l", "spark-01.lan", inventory=folder)
    assert run.code == 0 and run.output.count("has 4096") == 2, run.output
    run = ansible_playbook(folder / "play.yml", "-l", "spark03-vllm-b", inventory=folder)
    assert run.code == 0 and run.output.count("has 4096") == 1, run.output


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("vllm", 'vllm_services: "vllm" is not allowed; write the list out, each item with its name'),
        ([{"vllm_port": 1}], "vllm_services: item 1 has no name; write one out, such as name: vllm-embed"),
        ([*TWO, {"name": "vllm"}], "vllm_services: vllm is there twice; give one of them another name"),
        (
            [{"name": "vllm", "hf_cache_path": "/x"}],
            "vllm_services: hf_cache_path of vllm is not of a service but of its host; set it beside vllm_services",
        ),
        (
            [{"name": "vllm", "vllm_service_name": "x"}],
            "vllm_services: vllm_service_name of vllm is not allowed; use name",
        ),
        (
            [{"name": "vllm", "vllm_port": 8000}, {"name": "vllm-b"}],
            "vllm_port: 8000 is taken twice, spark03-vllm and spark03-vllm-b are one machine (10.0.0.3)",
        ),
        (
            [*TWO, {"name": "vllm-c", "vllm_port": 8002, "vllm_gpu_memory_utilization": 0.95}],
            "vllm-c 0.95 leave nothing for vllm, and this host can give 0.91",
        ),
        (
            [TWO[0], {**TWO[1], "vllm_swap_group": "big"}],
            "vllm_swap_group: big has spark03-vllm-b alone, and a group takes turns on one host; give it to another",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_changes(
    wrong: t.Any, line: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    folder = inventory(tmp_path, spark03={"vllm_services": wrong})
    run = ansible_playbook("site.yml", "-l", "spark03*", inventory=folder)
    assert run.code != 0
    assert line in run.words.replace("''", "'"), run.output
    assert "Prepare the hosts" not in run.output


def test_an_inventory_without_the_plugin(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    folder = inventory(tmp_path)
    (folder / "services.yml").unlink()
    run = ansible_playbook("playbooks/explain.yml", "-l", "spark03", inventory=folder)
    assert run.code != 0
    assert "vllm_services: the inventory does not divide spark03 into its services; put the line" in run.words


def test_the_name_of_a_service_is_not_chosen_on_the_command_line(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    folder = inventory(tmp_path)
    run = ansible_playbook("playbooks/explain.yml", "-l", "spark03", inventory=folder, vllm_service_name="vllm-b")
    assert run.code != 0
    assert "its name in the inventory: -l spark03-vllm" in run.words


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"vllm_port": "no"}, ""),
        ({"vllm_model": "qwen3-8b-pf8"}, ""),
        ({"vllm_port": "no", "vllm_gpu_memory_utilization": None}, "vllm gets what the others leave"),
    ],
)
def test_a_bad_variable_of_one_does_not_stop_another_one(
    bad: dict[str, t.Any], line: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    one, other = TWO
    folder = inventory(tmp_path, spark03={"vllm_services": [one, {**other, "vllm_gpu_memory_utilization": 0.1, **bad}]})
    run = ansible_playbook("playbooks/explain.yml", "-l", "spark03-vllm", inventory=folder)
    assert (run.code != 0) == bool(line), run.output
    assert line in run.words
    run = ansible_playbook("playbooks/explain.yml", "-l", "spark03-vllm-b", inventory=folder)
    assert run.code != 0 and ("vllm_port" in run.words or "vllm_model" in run.words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$ANSIBLE_VAULT;1.1;AES256\n3130\n", "Attempting to decrypt but no vault secrets found."),
        ("vllm_port: [8000\n", "did not find expected ',' or ']'"),
    ],
)
def test_variables_that_cannot_be_read_are_named_once(
    text: str, said: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    folder = inventory(tmp_path)
    (folder / "group_vars").mkdir()
    (folder / "group_vars" / "spark.yml").write_text(text)
    run = ansible_playbook("playbooks/explain.yml", inventory=folder)
    assert run.code == 4
    assert run.output.count(said) == 1
    assert "Failed to parse inventory" not in run.output
