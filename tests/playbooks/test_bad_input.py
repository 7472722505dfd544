# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All bad input at once, through the real site.yml: a host for each, none of which can be reached."""

from __future__ import annotations

import resource
import typing as t
from pathlib import Path

import pytest
import yaml

from support.bad_inputs import BAD, BAD_HOST
from support.paths import ROOT
from support.playbook import AnsiblePlaybook, Run

# site.yml does not run the other roles.
HERE = ("spark_host", "container_runtime", "hf_cache", "vllm")
INPUTS = [
    *BAD,
    *((values, line) for role, values, line in BAD_HOST if role in HERE and "hf_cache_space" not in str(values)),
]
# Nobody answers there. A host that was asked for anything would be unreachable, and take its time.
NOWHERE = {"ansible_connection": "ssh", "ansible_host": "192.0.2.1", "ansible_ssh_common_args": "-o ConnectTimeout=30"}


def worked() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(
    ansible_playbook: AnsiblePlaybook, folder: Path, hosts: dict[str, dict[str, t.Any]], playbook: Path
) -> tuple[Run, float]:
    """Runs a playbook, and says how many seconds the processors worked for it, whatever else the machine has to do."""
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": hosts}}), encoding="utf-8")
    environment = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    start = worked()
    run = ansible_playbook(playbook, inventory=inventory, environment=environment)
    return run, worked() - start


def site(
    ansible_playbook: AnsiblePlaybook, folder: Path, hosts: dict[str, dict[str, t.Any]]
) -> tuple[dict[str, t.Any], float]:
    """Runs site.yml, and returns what it said, and how many seconds of a processor that took."""
    run, seconds = timed(ansible_playbook, folder, hosts, ROOT / "site.yml")
    assert run.code != 0, run.output
    return run.json(), seconds


def assert_quick(
    ansible_playbook: AnsiblePlaybook, folder: Path, hosts: dict[str, dict[str, t.Any]], seconds: float
) -> None:
    """Five seconds where Ansible needs one to start and to do nothing. No host is waited for: that is a test above."""
    nothing = folder / "nothing.yml"
    nothing.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False}]), encoding="utf-8")
    run, start = timed(ansible_playbook, folder, hosts, nothing)
    assert run.code == 0, run.output
    print(f"refused after {seconds:.2f} s of a processor; a play without tasks takes {start:.2f} s")
    assert seconds < 5 * start


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> dict[str, t.Any]:
    hosts = {
        f"host{number}": {**NOWHERE, "ansible_port": 1 + number, **values}
        for number, (values, _line) in enumerate(INPUTS)
    }
    found, _seconds = site(ansible_playbook, tmp_path_factory.mktemp("site"), hosts)
    return found


def test_no_host_is_reached(output: dict[str, t.Any]) -> None:
    assert len(output["stats"]) == len(INPUTS) >= 80
    for stats in output["stats"].values():
        assert (stats["failures"], stats["ok"], stats["changed"], stats["unreachable"]) == (1, 0, 0, 0)
    assert [task["task"]["name"] for play in output["plays"] for task in play["tasks"]] == [
        "Validate the variables of all roles"
    ]


@pytest.mark.parametrize("number", range(len(INPUTS)), ids=[line[:70] for _values, line in INPUTS])
def test_each_is_told_its_line(output: dict[str, t.Any], number: int) -> None:
    result = output["plays"][0]["tasks"][0]["hosts"][f"host{number}"]
    assert INPUTS[number][1] in result["problems"]
    assert result["msg"].splitlines() == result["problems"]


def test_it_takes_no_five_seconds(tmp_path: Path, as_a_user: AnsiblePlaybook) -> None:
    values, line = INPUTS[0]
    hosts = {"spark01": {**NOWHERE, **values}}
    output, seconds = site(as_a_user, tmp_path, hosts)
    assert output["plays"][0]["tasks"][0]["hosts"]["spark01"]["problems"] == [line]
    assert_quick(as_a_user, tmp_path, hosts, seconds)


def test_two_services_of_one_machine_want_one_port(tmp_path: Path, as_a_user: AnsiblePlaybook) -> None:
    hosts = {
        "spark01": NOWHERE,
        "spark01-small": {**NOWHERE, "vllm_service_name": "vllm-small"},
        "spark02": {**NOWHERE, "ansible_host": "192.0.2.2"},
    }
    output, seconds = site(as_a_user, tmp_path, hosts)
    results = output["plays"][0]["tasks"][0]["hosts"]
    assert results["spark01"]["problems"] == [
        "vllm_port: 8000 is taken twice, spark01 and spark01-small are one machine (192.0.2.1); give one of them"
        " another port"
    ]
    assert all(stats["unreachable"] == stats["changed"] == 0 for stats in output["stats"].values())
    assert_quick(as_a_user, tmp_path, hosts, seconds)


def test_two_services_of_one_machine_want_one_name(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    hosts = {"spark01": NOWHERE, "spark01-small": {**NOWHERE, "vllm_port": "{{ 8000 + 1 }}"}}
    output, _seconds = site(ansible_playbook, tmp_path, hosts)
    assert output["plays"][0]["tasks"][0]["hosts"]["spark01"]["problems"] == [
        "vllm_service_name: vllm is taken twice, spark01 and spark01-small are one machine (192.0.2.1); give one of"
        " them another name"
    ]


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ({"vllm_home": "/srv/vllm"}, {"vllm_home": "{{ '/srv/' ~ 'vllm' }}"}, "vllm_home: /srv/vllm is taken twice, "),
        (
            {"vllm_container_name": "llm"},
            {"vllm_container_name": "llm"},
            "vllm_container_name: llm is taken twice, ",
        ),
        # the default of one is the name that the other one was given
        ({}, {"vllm_container_name": "vllm-qwen3-8b-fp8"}, "vllm_container_name: vllm-qwen3-8b-fp8 is taken twice, "),
    ],
)
def test_two_services_of_one_machine_share_nothing(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, one: dict[str, t.Any], other: dict[str, t.Any], line: str
) -> None:
    small = {"vllm_service_name": "vllm-small", "vllm_port": 8001}
    hosts = {"spark01": {**NOWHERE, **one}, "spark01-small": {**NOWHERE, **small, **other}}
    output, _seconds = site(ansible_playbook, tmp_path, hosts)
    (found,) = output["plays"][0]["tasks"][0]["hosts"]["spark01"]["problems"]
    assert found.startswith(line)
