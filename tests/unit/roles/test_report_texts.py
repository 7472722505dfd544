# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the templates of the role vllm tell the operator, rendered as Ansible does."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from support.paths import ROOT


def said(template: str, **variables: t.Any) -> list[str]:
    text = trust_as_template((ROOT / "roles" / "vllm" / "templates" / template).read_text())
    return str(Templar(loader=DataLoader(), variables=variables).template(text)).splitlines()


def summary(**variables: t.Any) -> list[str]:
    """The summary of a deployment after which the server answers."""
    health = {
        "verdict": "ready",
        "model": "m",
        "vllm_version": "1",
        "kv_cache_tokens": None,
        "completion": {"text": "", "tokens": 1, "seconds": 1.0},
    }
    resolved = {
        "rank": 0,
        "nodes": [],
        "url": "http://127.0.0.1:8000",
        "address": "127.0.0.1",
        "plan": {},
        "home": "/opt/vllm",
        "image_ref": "image:1",
        **variables.pop("resolved", {}),
    }
    known = {
        "inventory_hostname": "spark01",
        "ansible_host": "192.168.1.41",
        "ansible_check_mode": False,
        "vllm_port": 8000,
        "vllm_api_key": "",
        "__vllm_switch": False,
        "__vllm_stage_only": False,
        "__vllm_interrupted": False,
        "__vllm_waits_for": "",
        "__vllm_release": "1" * 12,
        "__vllm_health": health,
        "__vllm_current_health": health,
        "__vllm_resolved": resolved,
        "__vllm_service_option": "",
    }
    return said("summary.j2", **{**known, **variables})


@pytest.mark.parametrize(
    ("address", "key", "url"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:8000/v1 on the host itself; from elsewhere: ssh -L"),
        ("0.0.0.0", "k", "http://192.168.1.41:8000/v1 (every address of the host), with the API key"),
        ("10.0.0.7", "", "http://10.0.0.7:8000/v1, open to everybody"),
    ],
)
def test_the_summary_has_an_address_that_a_client_can_use(address: str, key: str, url: str) -> None:
    lines = summary(vllm_api_key=key, resolved={"address": address})
    assert next(line for line in lines if line.startswith("URL:")).startswith(f"URL:          {url}")


def test_a_preview_of_a_recovery_that_was_broken_off_says_that_its_release_loads() -> None:
    health = {"verdict": "loading"}
    lines = summary(ansible_check_mode=True, __vllm_health=health, resolved={"entry": {"id": "a/b"}})
    assert lines == [f"spark01 would wait for release {'1' * 12} (a/b), which loads now."]


@pytest.mark.parametrize(
    ("verdict", "label", "state"),
    [
        ("ready", "2" * 12, f"release {'2' * 12} serves"),
        ("loading", "2" * 12, f"release {'2' * 12} loads"),  # a run before was broken off
        ("failed", "", "another server has the port"),
    ],
)
def test_a_preview_says_what_has_the_port_now(verdict: str, label: str, state: str) -> None:
    health = {"verdict": verdict, "container": {"labels": {"dgxspark.vllm.release": label}}}
    known = {"__vllm_served_before": True, "__vllm_current_health": health, "vllm_gpu": "cdi"}
    (line,) = summary(__vllm_switch=True, ansible_check_mode=True, resolved={"entry": {"id": "a/b"}}, **known)
    assert line == f"spark01 would switch to release {'1' * 12} (a/b); now {state}."


@pytest.mark.parametrize("gpu", ["auto", "cdi"])
@pytest.mark.parametrize("changes", [True, False])
def test_a_preview_says_when_the_run_would_change_how_the_release_gets_the_gpu(gpu: str, changes: bool) -> None:
    """It names what would be deployed on the host as it is now."""
    known: dict[str, t.Any] = {"__vllm_served_before": False, "__vllm_swap": False, "vllm_gpu": gpu}
    known["resolved"] = {"entry": {"id": "m"}}
    lines = summary(__vllm_switch=True, ansible_check_mode=True, __container_runtime_gpu_changes=changes, **known)
    assert lines[0].endswith("; now nothing serves on port 8000.")
    expected = changes and gpu == "auto"  # else it is as the variable says
    assert any(line.startswith("That run gives the release another id") for line in lines) is expected


def test_the_summary_has_the_whole_command_that_starts_what_was_stopped() -> None:
    lines = summary(__vllm_switch=True, __vllm_displaced=[{"description": "the container old"}])
    assert next(line for line in lines if line.startswith("Stopped:")).endswith(
        "playbooks/uninstall.yml -l spark01 -e vllm_restore_replaced=true starts it again under its old name"
    )


@pytest.mark.parametrize(("verdict", "state"), [("loading", "still loads"), ("ready", "serves")])
def test_a_preview_says_that_a_run_would_complete_what_was_broken_off(verdict: str, state: str) -> None:
    lines = summary(
        ansible_check_mode=True,
        __vllm_interrupted=True,
        __vllm_health={"verdict": verdict},
        resolved={"entry": {"id": "a/b"}},
    )
    told = f"release {'1' * 12} (a/b) {state}, and was not proven yet."
    assert lines == [f"spark01 would complete a deployment that was interrupted: {told}"]


@pytest.mark.parametrize(
    ("environment", "offline", "told"),
    [
        ({}, False, ["HF_TOKEN is set, and not shown  vllm_hf_token"]),
        ({"HF_HUB_OFFLINE": "1"}, False, ["HF_TOKEN is for the download only  vllm_hf_token"]),
        ({"HF_HUB_OFFLINE": "1"}, True, []),
    ],
)
def test_the_explanation_says_of_the_token_only_what_the_server_gets(
    environment: dict[str, str], offline: bool, told: list[str]
) -> None:
    lines = explanation({"environment": environment}, vllm_hf_offline=offline)
    assert [line.strip() for line in lines if "HF_TOKEN" in line] == told


@pytest.mark.parametrize(
    ("deployment", "told"),
    [
        ({}, ["A deployment is refused: too much."]),
        ({"__vllm_switch": False}, ["It serves already. A new deployment of it is refused: too much."]),
        ({"__vllm_switch": True}, []),  # it says so itself
    ],
)
def test_the_explanation_says_what_is_refused(deployment: dict[str, bool], told: list[str]) -> None:
    lines = explanation({"budget_problem": "too much"}, **deployment)
    assert [line for line in lines if "refused" in line] == told


def explanation(resolved: dict[str, t.Any], **variables: t.Any) -> list[str]:
    known = {
        "image_ref": "image:1",
        "entry": {"id": "a/b"},
        "lines": [],
        "environment": {},
        "plan": {},
        "entrypoint": [],
        "user": "",
        "mounts": [],
        "budget": [],
        "copies": [],
        "budget_problem": "",
        "image": {"faults": [], "security_with_key": []},
        "memory_bytes": 1,
    }
    settings = {
        "inventory_hostname": "spark01",
        "vllm_hf_token": "x",
        "vllm_api_key": "",
        "vllm_hf_offline": False,
        "vllm_enforce_memory_plan": True,
        "__vllm_plan_refuses": False,
    }
    return said("explain.j2", **{**settings, "__vllm_resolved": {**known, **resolved}, **variables})


@pytest.mark.parametrize(
    ("oversized", "told"),
    [
        ([], "Something else uses the memory, such as a desktop"),
        (
            [{"service": "vllm-embed", "planned_bytes": 60 * 2**30, "part_bytes": 12 * 2**30}],
            "vllm-embed holds 60.0 GiB and is to have 12.0 GiB by the inventory: deploy it first "
            "(-l spark01-vllm-embed).",
        ),
    ],
)
def test_who_holds_the_memory_that_a_start_needs(oversized: list[dict[str, t.Any]], told: str) -> None:
    gib = 2**30
    resolved = {
        "needed_bytes": 70 * gib,
        "memory_bytes": 120 * gib,
        "memory_gib": 120.0,
        "available_bytes": 50 * gib,
        "comes_free_bytes": 50 * gib,
        "plan": {"utilization": 70 / 120, "offloaded_bytes": 0},
        "own_services": [],
        "oversized": oversized,
        "container": "c",
    }
    (line,) = said(
        "memory_taken.j2",
        inventory_hostname="spark01-vllm",
        dgxspark_host="spark01",
        __vllm_resolved=resolved,
        __vllm_taken_refuses=True,
    )
    assert line.startswith(
        "spark01-vllm has 50.0 GiB of memory available, and c needs 70.0 GiB at its start (0.58 of 120.0 GiB). "
    )
    assert told in line
    assert ("Something else" in line) == (not oversized)
    assert line.endswith(" Nothing was changed; vllm_enforce_memory_plan: false tries it all the same.")


@pytest.mark.parametrize(
    ("variables", "home"),
    [
        ({}, "/opt/vllm"),
        ({"vllm_home": "", "vllm_service_name": ""}, "/opt/vllm"),
        ({"vllm_home": "", "vllm_service_name": "vllm-chat"}, "/opt/vllm-chat"),
        ({"vllm_home": "/srv/vllm", "vllm_service_name": "vllm-chat"}, "/srv/vllm"),
    ],
)
def test_the_folder_of_a_host_whose_variables_were_not_checked(variables: dict[str, t.Any], home: str) -> None:
    text = (ROOT / "roles" / "vllm" / "tasks" / "report" / "read_untouched.yml").read_text()
    (task,) = yaml.safe_load(text)
    asked = trust_as_template(task["dgxspark.vllm.vllm_releases_info"]["home"])
    known = {"item": "spark02", "hostvars": {"spark02": variables}}
    assert Templar(loader=DataLoader(), variables=known).template(asked) == home
