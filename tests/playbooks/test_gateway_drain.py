# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit leaves the gateways before it is stopped, and comes back whatever becomes of its release."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from role_on_standins import R1, R2, Fleet, health, host_info

from support.playbook import THIS_MACHINE, AnsiblePlaybook

BROKEN = {"failed": True, "msg": "it is broken", "cause": {"id": "x", "change": {}}}
OBEYS = {"found": True, "reached": True, "sessions": 0, "alone": False, "held": True, "changed": True}
SERVES = {"spark_info": [host_info(R1)], "gateway_server": [OBEYS]}
HOSTS: dict[str, dict[str, t.Any]] = {
    "switched": {
        "good": [R1],
        "current": R1,
        "answers": {**SERVES, "vllm_health": [health("ready", R1), health("ready", R2)]},
    },
    "rolled-back": {
        "good": [R1],
        "current": R1,
        "answers": {**SERVES, "vllm_health": [health("ready", R1), BROKEN, health("ready", R1)]},
    },
    "nothing-to-do": {
        "good": [R1, R2],
        "current": R2,
        "answers": {**SERVES, "spark_info": [host_info(R2)], "vllm_health": [health("ready", R2)]},
    },
    "locked": {
        "good": [R1],
        "current": R1,
        "answers": {**SERVES, "deploy_lock": [{"failed": True, "msg": "another run deploys it"}]},
    },
    "disobeyed": {
        "good": [R1],
        "current": R1,
        "answers": {
            **SERVES,
            "gateway_server": [{"failed": True, "msg": "no such socket"}],
            "vllm_health": [health("ready", R1), health("ready", R2)],
        },
    },
    "alone": {
        "good": [R1],
        "current": R1,
        "answers": {
            **SERVES,
            "gateway_server": [{**OBEYS, "alone": True, "held": False}],
            "vllm_health": [health("ready", R1), health("ready", R2)],
        },
    },
    "missing": {
        "good": [R1],
        "current": R1,
        "answers": {
            **SERVES,
            "gateway_server": [{**OBEYS, "found": False, "missing": True, "changed": False}],
            "vllm_health": [health("ready", R1), health("ready", R2)],
        },
    },
    "waited-for": {
        "good": [R1],
        "current": R1,
        "answers": {
            **SERVES,
            "gateway_server": [{**OBEYS, "alone": True}],
            "vllm_health": [health("ready", R1), health("ready", R2)],
        },
    },
    "busy": {
        "good": [R1],
        "current": R1,
        "answers": {
            **SERVES,
            "gateway_server": [{**OBEYS, "reached": False, "sessions": 3}, OBEYS],
            "vllm_health": [health("ready", R1), health("ready", R2)],
        },
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> tuple[Fleet, str]:
    fleet = Fleet(ansible_playbook, tmp_path_factory.mktemp("fleet"), HOSTS)
    path = fleet.folder / "hosts.yml"
    inventory = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**inventory, "gateway": {"hosts": {"gw": THIS_MACHINE}}}))
    return fleet, " ".join(fleet.run(one_batch=True)[1].split())


@pytest.fixture(scope="module")
def two_gateways(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> tuple[Fleet, str]:
    silent = [{"failed": True, "msg": "no such socket"}, OBEYS, {"failed": True, "msg": "no such socket"}, OBEYS]
    one_silent = {**HOSTS["switched"], "answers": {**HOSTS["switched"]["answers"], "gateway_server": silent}}
    hosts = {"both": HOSTS["switched"], "one-silent": one_silent}
    fleet = Fleet(ansible_playbook, tmp_path_factory.mktemp("two"), hosts)
    path = fleet.folder / "hosts.yml"
    inventory = yaml.safe_load(path.read_text())
    gateways = {"gw1": THIS_MACHINE, "gw2": THIS_MACHINE}
    path.write_text(yaml.safe_dump({**inventory, "gateway": {"hosts": gateways}}))
    return fleet, " ".join(fleet.run(one_batch=True)[1].split())


def order(fleet: Fleet, host: str) -> list[str]:
    calls = fleet.calls(host, "gateway_server", "systemd", "vllm_health")
    return [str(asked["state"]) if name in ("gateway_server", "systemd") else "health" for name, asked in calls]


def test_it_leaves_before_the_switch_and_comes_back_after_the_proof(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert order(fleet, "switched") == ["health", "drained", "restarted", "health", "ready"], output
    asked = [asked for _name, asked in fleet.calls("switched", "gateway_server")]
    assert [(each["server"], each["timeout"], each["hold"]) for each in asked] == [
        ("switched", 300, True),
        ("switched", 60, False),
    ]


def test_it_comes_back_after_a_recovery(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    expected = ["health", "drained", "restarted", "health", "drained", "restarted", "health", "ready"]
    assert order(fleet, "rolled-back") == expected, output


def test_an_earlier_run_may_have_left_it_outside(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert order(fleet, "nothing-to-do") == ["health", "ready"], output


def test_it_stays_where_the_run_that_has_the_lock_wants_it(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert "another run deploys it" in output
    assert order(fleet, "locked") == [], output


@pytest.mark.parametrize(
    "words",
    [
        "gw: the gateway was not told that disobeyed is drained (no such socket)",
        "gw: alone is the only ready server of its model: requests get status 503 until it is back",
        "gw: the gateway has no server missing, so its requests are not led away and break off;"
        " run playbooks/gateway.yml first",
        "gw: waited-for is the only ready server of its model: requests wait until it is back",
        "gw: 3 requests to busy did not end within 300 s and are broken off",
    ],
)
def test_what_follows_is_said_and_the_deployment_goes_on(run: tuple[Fleet, str], words: str) -> None:
    fleet, output = run
    assert f"WARNING: {words}" in output
    for host in ("disobeyed", "alone", "missing", "waited-for", "busy"):
        assert fleet.link(host, "good") == R2, output


def test_of_two_gateways_both_lead_requests_away_and_one_is_enough(two_gateways: tuple[Fleet, str]) -> None:
    """Which of them has the address may change at any time."""
    fleet, output = two_gateways
    for host in ("both", "one-silent"):
        expected = ["health", "drained", "drained", "restarted", "health", "ready", "ready"]
        assert order(fleet, host) == expected, output
        assert fleet.link(host, "good") == R2, output
    assert "WARNING: gw1: the gateway was not told that one-silent is drained (no such socket)" in output
    assert "gw2: the gateway was not told" not in output
