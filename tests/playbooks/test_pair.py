# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts that serve one model together, on stand-ins: both are switched, committed and restored, or none is."""

from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

import pytest
import yaml
from role_on_standins import EXTRA, R1, R2, R3, Fleet, failure, health, host_info

from support.playbook import AnsiblePlaybook

BROKEN = {"failed": True, "msg": "it is broken", "cause": {"id": "x", "change": {}}}
TOGETHER = {"vllm_nodes": ["h0", "h1"], "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}


def pair(
    ansible_playbook: AnsiblePlaybook,
    folder: Path,
    head: dict[str, t.Any],
    worker: dict[str, t.Any],
    more: dict[str, t.Any] | None = None,
) -> Fleet:
    """Both serve R1. The head wants R2, to which R3 of the worker belongs."""
    serves = {"good": [R1], "current": R1}
    answers = {"spark_info": [host_info(R1)]}
    hosts = {
        "h0": {**TOGETHER, **serves, "vllm_node_address": "10.0.0.1", "wanted": R2, "answers": {**answers, **head}},
        "h1": {**TOGETHER, **serves, "vllm_node_address": "10.0.0.2", "wanted": R3, "answers": {**answers, **worker}},
    }
    for host in hosts.values():
        host.update(more or {})
    fleet = Fleet(ansible_playbook, folder, hosts)
    for release, its in ((R1, R1), (R2, R3)):
        path = folder / "h0" / "releases" / release / "release.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "ranks": {"h1": its}}))
    return fleet


def orders(fleet: Fleet) -> list[tuple[str, str]]:
    """What the head told systemd, and where."""
    calls = fleet.calls("h0", "systemd")
    return [(asked.get("delegate_to", "h0"), asked["state"]) for _name, asked in calls]


def verdicts(output: str) -> dict[str, str]:
    lines = output.splitlines()
    (begin,) = (number for number, line in enumerate(lines) if "old release" in line)
    rows = (line.split(maxsplit=3) for line in lines[begin + 1 : begin + 3])
    return {row[0]: row[3].removeprefix("-").strip() for row in rows}


SWITCH = [("h0", "stopped"), ("h1", "stopped"), ("h1", "restarted"), ("h0", "restarted")]
READY = {"vllm_health": [health("ready", R1), health("ready", R2)]}
RANK = {"vllm_health": [health("ready", R1, completion=None)]}


def test_the_head_switches_both(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = pair(ansible_playbook, tmp_path, READY, RANK)
    code, output = fleet.run()
    assert code == 0, output
    assert orders(fleet) == SWITCH
    assert fleet.calls("h1", "systemd") == []
    assert [fleet.link("h0", name) for name in ("current", "good")] == [R2, R2]
    assert [fleet.link("h1", name) for name in ("current", "good")] == [R3, R3]
    locks = [asked for _name, asked in fleet.calls("h0", "deploy_lock")]
    assert [lock.get("delegate_to") for lock in locks if "state" not in lock] == [None, "h1"]
    assert [lock.get("delegate_to") for lock in locks if "state" in lock] == ["h1", None]
    assert verdicts(output)["h1"].endswith("ready, with h0")


@pytest.mark.parametrize("network", ["Socket", "IB", None])
def test_a_group_over_sockets_is_told_so_at_the_end(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, network: str | None
) -> None:
    answers = [health("ready", R1), health("ready", R2, nccl_network=network)]
    code, output = pair(ansible_playbook, tmp_path, {"vllm_health": answers}, RANK).run()
    assert code == 0, output
    assert ("NCCL connects them over sockets, not by RDMA" in output) is (network == "Socket")


def test_before_a_switch_it_says_what_differs_between_the_hosts(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    def read(driver: str, clock: float) -> dict[str, t.Any]:
        found = host_info(R1)
        return {"spark": {**found["spark"], "gpu": {"driver": driver}}, "clock": {"least": clock, "most": clock + 2}}

    head, worker = ({"spark_info": [read(*values)]} for values in (("600.2", 0.0), ("600.1", -60.0)))
    fleet = pair(ansible_playbook, tmp_path, {**READY, **head}, {**RANK, **worker})
    code, output = fleet.run()
    assert code == 0, output
    words = " ".join(output.split())
    assert words.count("one model together differ: 600.2 on h0; 600.1 on h1.") == 1
    assert words.count("the clock of h1 is at least 58 s behind that of h0") == 1


def test_what_serves_is_left_alone(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = pair(ansible_playbook, tmp_path, READY, RANK, {"wanted": R1})
    code, output = fleet.run()
    assert code == 0, output
    assert orders(fleet) == []
    assert "h1 serves with h0 (release 111111111111)" in output


def test_a_worker_that_differs_is_a_switch_of_both(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    lost = {"vllm_health": [health("degraded", R1, completion=None)]}
    fleet = pair(ansible_playbook, tmp_path, READY, {**lost, "vllm_health": [health("failed", R1)]}, {"wanted": R1})
    code, output = fleet.run()
    assert code == 0, output
    assert orders(fleet) == SWITCH


def test_what_fails_is_restored_on_both(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    cause = {"meaning": "it lacks memory", "evidence": "13 GiB"}
    said = {"verdict": "failed", "cause": cause}
    head = {"vllm_health": [health("ready", R1), BROKEN, said, health("ready", R1)]}
    fleet = pair(ansible_playbook, tmp_path, head, RANK)
    code, output = fleet.run()
    assert code == 2, output
    assert orders(fleet) == SWITCH * 2
    assert (fleet.link("h0", "current"), fleet.link("h1", "current")) == (R1, R1)
    assert (fleet.link("h0", "good"), fleet.link("h1", "good")) == (R1, R1)
    told = failure(output, "h0")
    assert "it is broken h1 is failed: it lacks memory (13 GiB)." in told
    assert f"The last good release ({R1}) serves again." in told
    assert verdicts(output)["h1"].endswith("rolled back, with h0")


def test_a_head_with_a_bad_variable_stages_no_worker(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = pair(ansible_playbook, tmp_path, READY, RANK)
    inventory = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    inventory["spark"]["hosts"]["h0"]["fails"] = "validate"
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    code, output = fleet.run()
    assert code == 2, output
    assert "h0 fails in validate" in output
    assert not (tmp_path / "h1" / "calls").exists()


def test_a_worker_keeps_as_many_releases_as_it_says(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = pair(ansible_playbook, tmp_path, READY, RANK)
    inventory = yaml.safe_load((tmp_path / "hosts.yml").read_text())
    inventory["spark"]["hosts"]["h1"]["vllm_keep_releases"] = 1
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    code, output = fleet.run()
    assert code == 0, output
    assert (tmp_path / "h0" / "releases" / R1).exists()
    assert not (tmp_path / "h1" / "releases" / R1).exists()


@pytest.mark.parametrize(("head", "drifts"), [(R1, False), (R2, True)])
def test_health_shows_a_difference_on_the_head_alone(
    head: str, drifts: bool, tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    runs = [health("ready", unit_id(R1, R1), **host_info()), health("ready", R1, completion=None, **host_info())]
    for its in runs:
        its["container"].update(image=TOGETHER["vllm_image"], status="running")
    fleet = pair(ansible_playbook, tmp_path, {"vllm_health": runs[:1]}, {"vllm_health": runs[1:]})
    extra = {"__vllm_release_id": f"{{{{ {{'h0': '{head}', 'h1': '{R1}'}}[inventory_hostname] }}}}"}
    _code, output = fleet.run("health.yml", extra=extra)
    assert (unit_id(head, R1) in output) == drifts, output


def unit_id(own: str, worker: str) -> str:
    """Of the head, by hand."""
    content = [own, {"ranks": {"h1": worker}}, ["10.0.0.1", "10.0.0.2"], 29501]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def test_what_fails_is_restored_although_only_the_worker_changed(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    before, after = unit_id(R1, R1), unit_id(R1, R3)
    head = {"vllm_health": [health("ready", before), BROKEN, {"verdict": "failed"}, health("ready", before)]}
    fleet = pair(ansible_playbook, tmp_path, head, RANK, {"current": None, "good": []})
    for host, release in (("h0", before), ("h1", R1)):
        folder = fleet.folder / host
        (folder / "releases" / R1).rename(folder / "releases" / release)
        (folder / "releases" / release / "good").write_text("1\n")
        for name in ("current", "good"):
            (folder / name).symlink_to(f"releases/{release}")
    (fleet.folder / "h0" / "releases" / R2).rename(fleet.folder / "h0" / "releases" / after)
    inventory = fleet.folder / "hosts.yml"
    inventory.write_text(inventory.read_text().replace(f"wanted: '{R2}'", f"wanted: '{R1}'", 1))
    extra = {name: value for name, value in EXTRA.items() if name != "__vllm_group_release_id"}
    code, output = fleet.run(extra=extra)
    assert code == 2, output
    assert orders(fleet) == SWITCH * 2
    assert (fleet.link("h0", "current"), fleet.link("h1", "current")) == (before, R1)
    assert f"The last good release ({before}) serves again." in failure(output, "h0")


def test_without_a_release_to_restore_both_stay_down(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    said = {"verdict": "failed", "cause": None}
    head = {"vllm_health": [health("absent"), BROKEN, said]}
    fleet = pair(ansible_playbook, tmp_path, head, {"vllm_health": [health("absent")]}, {"good": [], "current": None})
    code, output = fleet.run()
    assert code == 2, output
    assert orders(fleet) == [*SWITCH, ("h0", "stopped"), ("h1", "stopped")]
    assert [asked["enabled"] for _name, asked in fleet.calls("h0", "systemd")[-2:]] == [False, False]


def test_a_worker_that_cannot_be_staged_keeps_all_as_it_is(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = pair(ansible_playbook, tmp_path, READY, RANK)
    inventory = fleet.folder / "hosts.yml"
    inventory.write_text(
        inventory.read_text().replace(
            "      wanted: '333333333333'", "      wanted: '333333333333'\n      fails: stage_release"
        )
    )
    code, output = fleet.run()
    assert code == 2, output
    assert "h1 fails in stage_release" in failure(output, "h1")
    assert not (fleet.folder / "h0" / "calls").exists()
    assert (fleet.link("h0", "current"), fleet.link("h1", "current")) == (R1, R1)


def test_restart_and_rollback(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    back = {"vllm_health": [health("ready", R1)]}
    fleet = pair(ansible_playbook, tmp_path, back, RANK, {"good": [R1, R2], "current": R2})
    for name in ("current", "good"):
        (fleet.folder / "h1" / name).unlink()
        (fleet.folder / "h1" / name).symlink_to(f"releases/{R3}")
    code, output = fleet.run("rollback.yml")
    assert code == 0, output
    assert orders(fleet) == SWITCH
    assert [fleet.link(host, name) for host in ("h0", "h1") for name in ("current", "good")] == [R1] * 4


def test_hosts_that_served_alone_do_so_again(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    said = {"verdict": "failed", "cause": None}
    head = {"vllm_health": [health("ready", R1), BROKEN, said, health("ready", R1)]}
    fleet = pair(ansible_playbook, tmp_path, head, RANK)
    alone = fleet.folder / "h0" / "releases" / R1 / "release.json"
    facts = json.loads(alone.read_text())
    facts.pop("ranks")
    alone.write_text(json.dumps(facts))
    code, output = fleet.run()
    assert code == 2, output
    assert orders(fleet) == SWITCH * 2
    assert (fleet.link("h0", "current"), fleet.link("h1", "current")) == (R1, R1)
    assert f"The last good release ({R1}) serves again." in failure(output, "h0")


def alone_before(fleet: Fleet) -> None:
    """The release of the head is one from before the pair."""
    path = fleet.folder / "h0" / "releases" / R1 / "release.json"
    path.write_text(json.dumps({name: its for name, its in json.loads(path.read_text()).items() if name != "ranks"}))
    without_unit(fleet)


def without_unit(fleet: Fleet) -> None:
    """These hosts have no file of the unit, which a restart looks for."""
    path = next(fleet.folder.glob("collections/**/tasks/deploy/read_installed.yml"))
    path.write_text(path.read_text().replace(" or __vllm_unit_path not in __vllm_releases.units", ""))


@pytest.mark.parametrize("playbook", ["restart.yml", "rollback.yml"])
@pytest.mark.parametrize("has_one", [True, False])
def test_a_release_from_before_the_pair(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, playbook: str, has_one: bool
) -> None:
    is_rollback = playbook == "rollback.yml"
    more = {"good": [R1, R2], "current": R2} if is_rollback else {}
    fleet = pair(ansible_playbook, tmp_path, {"vllm_health": [health("ready", R1)]}, RANK, more)
    alone_before(fleet)
    if not has_one:
        (fleet.folder / "h1" / "current").unlink()
        for path in fleet.folder.glob("h1/releases/*/good"):
            path.unlink()
    elif is_rollback:
        # what it was proven with last was not alone
        path = fleet.folder / "h1" / "releases" / R2 / "release.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "nodes": ["10.0.0.1", "10.0.0.2"]}))
    code, output = fleet.run(playbook)
    assert code == (0 if has_one else 2), output
    assert orders(fleet) == (SWITCH if has_one else [])
    if has_one:
        assert (fleet.link("h0", "current"), fleet.link("h1", "current")) == (R1, R1)
    else:
        assert f"h1 has no release that belongs to release {R1} of h0" in failure(output, "h0")


def test_no_rollback_to_a_part_of_a_group(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {"good": [R1, R2], "current": R2}})
    path = fleet.folder / "h0" / "releases" / R1 / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "nodes": ["10.0.0.1", "10.0.0.2"]}))
    code, output = fleet.run("rollback.yml")
    assert code == 2, output
    assert f"Release {R1} was served together with other hosts, and vllm_nodes is empty." in failure(output, "h0")
    assert fleet.link("h0", "current") == R2


def test_no_restart_of_a_part_of_a_group(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {"good": [R1], "current": R1}})
    path = fleet.folder / "h0" / "releases" / R1 / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "nodes": ["10.0.0.1", "10.0.0.2"]}))
    without_unit(fleet)
    code, output = fleet.run("restart.yml")
    assert code == 2, output
    assert f"release {R1} serves together with other hosts, and vllm_nodes is empty" in " ".join(output.split())
    assert "Restart the unit" not in output
