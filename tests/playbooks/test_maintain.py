# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""maintain.yml on hosts of stand-ins: in which order it works, what it leaves alone, and what ends it."""

from __future__ import annotations

import json
import os
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from role_on_standins import EXTRA, R1, Fleet, failure, health
from test_restart_stop import OBEYS, SERVES, SILENT, fleet_of

from support.playbook import AnsiblePlaybook

KERNEL = "Inst linux-image-{}-nvidia (1 Ubuntu [arm64])"
GOOD = KERNEL.format("6.17.0-1032")
PAIR = {"vllm_nodes": ["h0", "h1"], "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unit is enabled, and apt-get simulates what the file says."""
    (tmp_path / "bin").mkdir()
    for name, script in {
        "systemctl": f'[ "$1" = is-active ] && exec cat {tmp_path}/$2; cat {tmp_path}/enabled',
        "apt-get": f"cat {tmp_path}/simulated",
    }.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    (tmp_path / "enabled").write_text("enabled\n")
    (tmp_path / "simulated").write_text(GOOD + "\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def steps(fleet: Fleet, host: str) -> list[str]:
    """Without the lists of packages, which stop nothing."""
    calls = fleet.calls(host, "gateway_server", "systemd", "apt", "reboot", "vllm_health")
    return [its.get("state", "upgrade" if name == "apt" else name) for name, its in calls if "update_cache" not in its]


def test_in_order_and_proven(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    hosts = {"serves": SERVES, "silent": {**SERVES, "answers": {**SERVES["answers"], "vllm_health": [SILENT]}}}
    fleet = fleet_of(ansible_playbook, tmp_path, hosts)
    code, output = fleet.run("maintain.yml", one_batch=True)
    assert code == 2, output
    rounds = ["drained", "stopped", "upgrade", "reboot", "drained", "restarted", "vllm_health", "ready"]
    assert steps(fleet, "serves") == rounds
    assert fleet.link("serves", "current") == R1
    assert "silent was not maintained: it is silent. It does not serve" in failure(output, "silent")


def test_a_host_that_does_not_come_back_ends_the_run(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    lost = {**SERVES["answers"], "reboot": [{"failed": True, "msg": "Timed out waiting for last boot time check"}]}
    hosts = {"h0": {**SERVES, "answers": lost}, "h1": SERVES, "h2": SERVES}
    fleet = fleet_of(ansible_playbook, tmp_path, hosts)
    code, output = fleet.run("maintain.yml")
    assert code == 2, output
    assert "h0 was not maintained: h0: Timed out waiting for last boot time check" in failure(output, "h0")
    assert steps(fleet, "h0")[-2:] == ["started", "ready"]
    assert not any((tmp_path / host / "calls").exists() for host in ("h1", "h2"))
    assert "not touched" in output


@pytest.mark.parametrize(
    ("simulated", "more", "check", "said"),
    [
        ("0 upgraded\n", {}, False, "unchanged"),
        (GOOD, {}, True, "would update"),
        (KERNEL.format("6.17.0-1008"), {}, False, "apt-mark hold linux-image-6.17.0-1008-nvidia"),
    ],
)
def test_what_is_not_stopped(
    simulated: str, more: dict[str, t.Any], check: bool, said: str, programs: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    (programs / "simulated").write_text(simulated)
    fleet = fleet_of(ansible_playbook, programs, {"h0": {**SERVES, **more}, "h1": {**SERVES, **more}})
    _code, output = fleet.run("maintain.yml", one_batch=True, check=check)
    assert said in " ".join(output.split()), output
    assert set(steps(fleet, "h0")) <= {"ready"}


@pytest.mark.parametrize(
    ("simulated", "said"), [("0 upgraded\n", "h0: unchanged"), (GOOD, r"h0: ready, \d+ s until it served again")]
)
def test_the_outcome_of_a_single_host(
    simulated: str, said: str, programs: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    """It has no table."""
    (programs / "simulated").write_text(simulated)
    fleet = fleet_of(ansible_playbook, programs, {"h0": SERVES})
    code, output = fleet.run("maintain.yml")
    assert code == 0, output
    assert re.search(said, " ".join(output.split())), output


def test_what_was_stopped_stays_stopped(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    (programs / "enabled").write_text("disabled\n")
    fleet = fleet_of(ansible_playbook, programs, {"h0": SERVES, "h1": SERVES})
    code, output = fleet.run("maintain.yml", one_batch=True)
    assert code == 0, output
    assert "restarted" not in steps(fleet, "h0")
    assert "updated, stopped as before" in output


def test_a_pair_is_one(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    answers = {"vllm_health": [health("ready", R1)], "gateway_server": [OBEYS]}
    hosts = {
        host: {**SERVES, **PAIR, "vllm_node_address": f"10.0.0.{number}", "answers": answers}
        for number, host in enumerate(PAIR["vllm_nodes"])
    }
    fleet = fleet_of(ansible_playbook, programs, hosts)
    path = programs / "h0" / "releases" / R1 / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ranks": {"h1": R1}}))
    code, output = fleet.run("maintain.yml")
    assert code == 0, output
    where = [(its.get("delegate_to"), name) for name, its in fleet.calls("h0", "reboot")]
    assert where == [("h0", "reboot"), ("h1", "reboot")]
    orders = [(its.get("delegate_to", "h0"), its["state"]) for _name, its in fleet.calls("h0", "systemd")]
    both = [("h0", "stopped"), ("h1", "stopped")]
    assert orders == [*both, *both, ("h1", "restarted"), ("h0", "restarted")]
    assert not (programs / "h1" / "calls").exists()


LOST = {"unreachable": True, "msg": "Connection reset by peer"}


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ({}, "Its service was told to start again, which was not proven: see playbooks/health.yml"),
        (LOST, "Its service is stopped on h0, which cannot be reached: start it with playbooks/restart.yml -l h0"),
    ],
)
def test_a_connection_that_is_lost_leaves_nothing_stopped(
    starts: dict[str, t.Any], said: str, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    answers = {**SERVES["answers"], "apt": [{}, LOST], "systemd": [{}, starts]}
    fleet = fleet_of(ansible_playbook, tmp_path, {"h0": {**SERVES, "answers": answers}, "h1": SERVES})
    code, output = fleet.run("maintain.yml")
    assert code == 2, output
    assert "h0 was not maintained: the connection to h0 was lost (Connection reset by peer)" in failure(output, "h0")
    assert said in failure(output, "h0")
    assert "reboot" not in steps(fleet, "h0")
    calls = [(name, its.get("state")) for name, its in fleet.calls("h0", "systemd", "wait_for_connection")]
    assert calls == [("systemd", "stopped"), ("wait_for_connection", None), ("systemd", "started")]
    assert not (tmp_path / "h1" / "calls").exists()


def test_a_machine_does_not_reboot_itself(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = fleet_of(ansible_playbook, tmp_path, {"h0": SERVES, "h1": SERVES})
    extra = {name: value for name, value in EXTRA.items() if name != "__vllm_is_controller"}
    code, output = fleet.run("maintain.yml", extra=extra)
    assert code == 2, output
    assert "h0 is the machine on which Ansible runs (ansible_connection: local)" in failure(output, "h0")
    assert not any((tmp_path / host / "calls").exists() for host in ("h0", "h1"))


def test_a_machine_with_two_services_reboots_once(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    (programs / "simulated").write_text("0 upgraded\n")
    service = {**SERVES, "dgxspark_host": "machine", "vllm_os_reboot": "always", "ansible_host": "10.0.0.1"}
    fleet = fleet_of(ansible_playbook, programs, {"h0": service, "h1": service})
    inventory = yaml.safe_load((programs / "hosts.yml").read_text())
    inventory["machine"] = {"hosts": {"h0": {}, "h1": {}}}
    (programs / "hosts.yml").write_text(yaml.safe_dump(inventory))
    code, output = fleet.run("maintain.yml")
    assert code == 0, output
    assert "reboot" in steps(fleet, "h0")
    assert steps(fleet, "h1") == ["ready"]


def machine(
    programs: Path, ansible_playbook: AnsiblePlaybook, proofs: list[dict[str, t.Any]], **answers: list[dict[str, t.Any]]
) -> Fleet:
    """Two services of one machine, both before the gateway. PROOFS are those of the first and, after it, the second."""
    answers = {"vllm_health": proofs, "gateway_server": [OBEYS], **answers}
    common = {**SERVES, "dgxspark_host": "m", "ansible_host": "10.0.0.1", "answers": answers}
    hosts = {f"m-{name}": {**common, "vllm_service_name": name} for name in ("vllm", "vllm-b")}
    fleet = fleet_of(ansible_playbook, programs, hosts)
    for name in ("vllm", "vllm-b"):
        (programs / f"m-{name}" / ".dgxspark-vllm").write_text(json.dumps({"service": name, "made": []}))
        (programs / "units" / f"{name}.service").write_text("# Written by dgxspark.vllm.\n")
        (programs / f"{name}.service").write_text("active\n")
    inventory = yaml.safe_load((programs / "hosts.yml").read_text())
    inventory["m"] = {"hosts": dict.fromkeys(hosts, {})}
    (programs / "hosts.yml").write_text(yaml.safe_dump(inventory))
    return fleet


def told(fleet: Fleet, host: str) -> list[tuple[str, str]]:
    """Who was asked for what: servers by their names in the gateways, units, and services whose lock it is."""
    found = []
    for name, its in fleet.calls(host, "deploy_lock", "gateway_server", "systemd", "reboot", "vllm_health"):
        which = its.get("server") or its.get("name") or its.get("service") or "m"
        found.append((which, its.get("state", "lock" if name == "deploy_lock" else name)))
    return found


def test_all_services_of_the_machine_are_drained_and_proven(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = machine(programs, ansible_playbook, [health("ready", R1)])
    code, output = fleet.run("maintain.yml", extra={**EXTRA, "vllm_os_reboot": "always"})
    assert code == 0, output
    locks = [("vllm", "lock"), ("vllm-b", "lock")]
    assert told(fleet, "m-vllm") == [
        *locks,
        *[("m-vllm", "drained"), ("m-vllm-b", "drained"), ("vllm.service", "stopped"), ("m", "reboot")],
        *[*locks, ("m-vllm", "drained"), ("vllm.service", "restarted"), ("vllm.service", "vllm_health")],
        *[("m-vllm", "ready"), *locks, ("vllm-b.service", "vllm_health"), ("m-vllm-b", "ready")],
        *[("m-vllm", "ready"), ("vllm", "absent"), ("vllm-b", "absent")],
    ]
    proofs = [its for name, its in fleet.calls("m-vllm", "vllm_health")]
    assert [(its["url"], its["delegate_to"], its["wait"]) for its in proofs[1:]] == [
        ("http://127.0.0.1:8001", "m-vllm-b", True)
    ]


def test_another_service_that_does_not_come_back(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = machine(programs, ansible_playbook, [health("ready", R1), SILENT])
    code, output = fleet.run("maintain.yml")
    assert code == 2, output
    said = "m-vllm was maintained, but m-vllm-b, another service of the machine, does not serve again: it is silent."
    assert f"{said} Look at it with playbooks/health.yml -l m-vllm-b" in failure(output, "m-vllm")
    end = [("m-vllm", "ready"), ("vllm", "absent"), ("m-vllm-b", "ready"), ("vllm-b", "absent")]
    assert told(fleet, "m-vllm")[-4:] == end
    assert not (programs / "m-vllm-b" / "calls").exists()


def test_another_service_that_is_stopped_is_left_so(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = machine(programs, ansible_playbook, [health("ready", R1)])
    (programs / "vllm-b.service").write_text("inactive\n")
    code, output = fleet.run("maintain.yml", one_batch=True)
    assert code == 0, output
    # only its lock is taken: no one starts it meanwhile
    assert {what for which, what in told(fleet, "m-vllm") if which == "vllm-b"} == {"lock", "absent"}
    assert {which for which, _what in told(fleet, "m-vllm")} == {"vllm", "vllm-b", "m-vllm", "vllm.service", "m"}


def test_another_service_that_starts_is_proven_too(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = machine(programs, ansible_playbook, [health("ready", R1)])
    (programs / "vllm-b.service").write_text("activating\n")
    code, output = fleet.run("maintain.yml")
    assert code == 0, output
    assert ("vllm-b.service", "vllm_health") in told(fleet, "m-vllm")


def test_it_is_waited_for_as_long_as_its_own_variables_say(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = machine(programs, ansible_playbook, [health("ready", R1)])
    inventory = yaml.safe_load((programs / "hosts.yml").read_text())
    inventory["m"]["hosts"]["m-vllm-b"] = {"vllm_start_timeout": 5000}
    (programs / "hosts.yml").write_text(yaml.safe_dump(inventory))
    code, output = fleet.run("maintain.yml")
    assert code == 0, output
    waits = [its["timeout"] for _name, its in fleet.calls("m-vllm", "vllm_health")]
    assert [int(seconds) for seconds in waits] == [int(waits[0]), 5000] and int(waits[0]) < 5000


def test_a_machine_that_is_lost_after_the_stop_is_told(programs: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = machine(programs, ansible_playbook, [health("ready", R1)], deploy_lock=[{}, {}, {}, LOST, {}])
    code, output = fleet.run("maintain.yml")
    assert code == 2, output
    assert "m-vllm-b cannot be reached: Connection reset by peer" in failure(output, "m-vllm")
    assert told(fleet, "m-vllm")[-2:] == [("m-vllm-b", "ready"), ("vllm-b", "absent")]
