# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role does on hosts in which something goes wrong; each host of the run is one story."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from flow_hosts import HOSTS, SETS, rows
from role_on_standins import EXTRA, R1, R2, R3, STANDINS, Fleet, failure, health, host_info

from support.playbook import AnsiblePlaybook, Run


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> tuple[Fleet, str]:
    fleet = Fleet(ansible_playbook, tmp_path_factory.mktemp("flows"), HOSTS)
    for host in ("unmarked", "unmarked-remedy"):
        (fleet.folder / host / "taken_over.json").mkdir()
    (fleet.folder / "owners-file" / ".env").write_text("OPENWEBUI_SECRET=irreplaceable\n")
    (fleet.folder / "owners-folder" / ".dgxspark-vllm").unlink()
    (fleet.folder / "other-secrets" / "releases" / R1 / ".env").write_text(f"# The values are those of release {R2}.\n")
    code, output = fleet.run(one_batch=True)
    assert code == 2, output
    return fleet, output


def starts(fleet: Fleet, host: str) -> list[tuple[str, t.Any]]:
    return [(asked["state"], asked.get("enabled")) for _name, asked in fleet.calls(host, "systemd")]


@pytest.mark.parametrize(("host", "release"), [("unmarked", R2), ("unmarked-remedy", R3)])
def test_what_is_proven_serves_on_whatever_becomes_of_its_mark(run: tuple[Fleet, str], host: str, release: str) -> None:
    fleet, output = run
    assert fleet.link(host, "current") == release
    assert starts(fleet, host)[-1] == ("restarted", True)
    assert len(starts(fleet, host)) == (1 if host == "unmarked" else 3)
    said = failure(output, host)
    assert f"Release {release} serves on {host} and is proven, but could not be marked as good" in said, output
    assert "taken_over.json: Is a directory" in said
    assert fleet.calls(host, "deploy_lock")[-1][1]["state"] == "absent"


def test_a_remedy_that_helped_is_remembered(run: tuple[Fleet, str]) -> None:
    found = run[0].folder / "unmarked-remedy" / "releases" / R2 / "remedy.json"
    assert json.loads(found.read_text()) == {"vllm_max_model_len": 5}


def test_options_and_environment_that_avoid_a_failure_are_tried_once(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    said = " ".join(output.split()).replace('\\"', '"')
    assert f"bad kernel Trying once more with {json.dumps(SETS)} (vllm_auto_remedy)" in said
    assert fleet.link("avoidable", "good") == R3, output
    found = fleet.folder / "avoidable" / "releases" / R2 / "remedy.json"
    assert json.loads(found.read_text()) == SETS
    assert f"Changed: vllm_extra_env has {json.dumps(SETS['vllm_extra_env'])} here" in said


def test_what_the_release_has_is_not_tried_again(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert starts(fleet, "avoided-already") == [("restarted", True), ("restarted", True)]
    assert fleet.link("avoided-already", "current") == R1
    assert "did not help: the release has these values already" in failure(output, "avoided-already")


def test_a_run_that_was_broken_off_before_the_mark_is_finished(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert fleet.link("resumed", "good") == R2, output
    assert fleet.calls("resumed", "systemd") == []


def test_what_served_before_serves_again(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert (fleet.link("broken", "current"), fleet.link("broken", "good")) == (R1, R1)
    assert starts(fleet, "broken") == [("restarted", True), ("restarted", True)]
    told = f"The last good release ({R1}) serves again. The new release failed: it is broken"
    assert told in failure(output, "broken")


def test_two_servers_that_made_room_are_both_brought_back(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    asked = fleet.calls("beside", "systemd", "vllm_takeover", "vllm_health")
    states = [(name, values.get("state") or values.get("container", "found")) for name, values in asked]
    assert states[1:] == [
        ("vllm_takeover", "stopped"),
        ("systemd", "restarted"),
        ("vllm_health", "vllm-qwen3-8b-fp8"),
        ("systemd", "stopped"),
        ("vllm_takeover", "started"),
        ("vllm_health", "trial"),
        ("systemd", "restarted"),
        ("vllm_health", "vllm-1"),
    ]
    assert asked[1][1]["beside"] == R1
    assert "enabled" not in asked[4][1]
    assert asked[6][1]["url"] == "http://127.0.0.1:8001"  # its own, not the one that was wanted
    assert fleet.link("beside", "current") == R1
    told = f"trial, which was stopped for it, serves again. The last good release ({R1}) serves again."
    assert told in failure(output, "beside")


def test_what_did_not_serve_is_not_started(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert starts(fleet, "alone") == [("restarted", True), ("stopped", False)]
    told = "trial, which was stopped for it, serves again. The new release failed: it is broken"
    assert told in failure(output, "alone")
    left = "Its container stays, with the log, until the next deployment or playbooks/uninstall.yml."
    assert left in failure(output, "alone")
    assert left not in failure(output, "broken")  # the last good release has replaced it


def test_a_server_that_does_not_come_back_is_told(run: tuple[Fleet, str]) -> None:
    said = failure(run[1], "given-back-in-vain")
    assert "trial, which was stopped for it, was started again, but does not answer: it is broken The last good" in said


def test_every_server_that_made_room_gets_its_time(run: tuple[Fleet, str]) -> None:
    """One that does not answer keeps nobody from waiting for the next one."""
    fleet, output = run
    waited = [asked["container"] for _name, asked in fleet.calls("one-of-two", "vllm_health")]
    assert waited[2:] == ["trial", "second", "vllm-1"]
    told = "trial, second, which were stopped for it, were started again, but do not answer: it is broken The last good"
    assert told in failure(output, "one-of-two")


def test_what_was_not_stopped_is_left_alone(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert fleet.link("blocked", "current") == R1
    assert starts(fleet, "blocked") == []
    assert "Nothing was stopped, and what served before still serves." in failure(output, "blocked")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("owners-file", "/.env is not the link that this collection makes there"),
        ("owners-folder", "holds answers.json, calls, current, good and 1 more, and has no marker of this collection"),
    ],
)
def test_what_is_somebody_elses_is_not_touched(run: tuple[Fleet, str], host: str, words: str) -> None:
    fleet, output = run
    assert words in failure(output, host)
    assert fleet.link(host, "current") == R1
    assert fleet.calls(host, "systemd", "vllm_takeover", "vllm_conflicts_info") == []
    if host == "owners-file":
        assert (fleet.folder / host / ".env").read_text() == "OPENWEBUI_SECRET=irreplaceable\n"


def test_a_run_that_ended_between_the_link_and_the_start(run: tuple[Fleet, str]) -> None:
    """The module takes the key of the release that the container is of, not that of `current`."""
    fleet, output = run
    (asked,) = fleet.calls("half-switched", "vllm_health")
    assert asked[1]["env_file"] == f"{fleet.folder}/half-switched/.env"
    assert "It was left alone; to restart it: systemctl restart vllm.service" in failure(output, "half-switched")
    assert fleet.link("half-switched", "current") == R1  # what that would start


def test_a_conflict_refuses_a_deployment(run: tuple[Fleet, str]) -> None:
    fleet, output = run
    assert "refused: the container trial is in the way. Stop it" in failure(output, "refused")
    asked = {
        "service": "vllm",
        "port": 8000,
        "address": "127.0.0.1",
        "container": "vllm-qwen3-8b-fp8",
        "take_over": False,
    }
    assert fleet.calls("refused", "vllm_conflicts_info") == [("vllm_conflicts_info", asked)]
    assert fleet.calls("refused", "systemd", "vllm_takeover") == []


def test_the_table(run: tuple[Fleet, str]) -> None:
    table = rows(run[1])
    assert {host: verdict for host, (_down, verdict) in table.items()} == {
        "unmarked": "ready, not committed",
        "unmarked-remedy": "ready, not committed",
        "avoidable": "ready",
        "avoided-already": "rolled back",
        "resumed": "completed",
        "broken": "rolled back",
        "beside": "rolled back",
        "alone": "rolled back",
        "given-back-in-vain": "failed",
        "one-of-two": "failed",
        "blocked": "unchanged",
        "half-switched": "failed before the switch, serves",
        "other-secrets": "ready",
        "refused": "failed before the switch",
        "owners-file": "failed before the switch",
        "owners-folder": "failed before the switch",
    }
    assert table["alone"][0].isdigit()  # it was given back, and answered


def test_which_releases_were_started_is_kept(run: tuple[Fleet, str]) -> None:
    """A release that failed looks like one that was only staged otherwise."""

    def started(host: str) -> list[str]:
        return sorted(path.parent.name for path in (run[0].folder / host / "releases").glob("*/started"))

    assert started("broken") == [R2]  # and not the proven one that was restored
    assert started("refused") == []


def test_the_table_names_what_served_before_the_run_that_was_broken_off(run: tuple[Fleet, str]) -> None:
    """That run stopped it, and took the time of the stop with it."""
    (row,) = (line.split() for line in run[1].splitlines() if line.startswith("resumed  ") and R2 in line)
    assert row == ["resumed", R1, R2, "-", "completed"]


def test_secrets_that_are_not_those_of_the_inventory_are_a_switch(run: tuple[Fleet, str]) -> None:
    fleet, _output = run
    assert starts(fleet, "other-secrets")[-1:] == [("restarted", True)]
    (asked,) = (asked for _name, asked in fleet.calls("other-secrets", "vllm_health")[1:])
    assert asked["wait"]


def test_who_goes_back_to_other_secrets_is_told_so(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """A key that was replaced since, perhaps because it was revoked, is in force again."""
    back = {"good": [R1, R2], "current": R2, "answers": {"vllm_health": [health("ready", R1)]}}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": back, "h1": back})
    for host, release, key in (("h0", R1, "old"), ("h0", R2, "new"), ("h1", R1, "same"), ("h1", R2, "same")):
        (fleet.folder / host / "releases" / release / ".env").write_text(f"HF_TOKEN='t'\nVLLM_API_KEY='{key}'\n")
        (fleet.folder / host / "releases" / release / "compose.yaml").write_text("key: ${VLLM_API_KEY}\n")
    code, output = fleet.run("rollback.yml")
    assert code == 0, output
    said = " ".join(output.split())
    warning = "WARNING: this brings back a VLLM_API_KEY that the release before does not have"
    assert said.count(warning) == 1, output
    # their service files are none
    assert (
        said.count(f"what the rollback changes is not known, because {fleet.folder}/h0/releases/{R1}/compose.yaml") == 1
    )


@pytest.mark.parametrize("check", [True, False])
def test_a_rollback_shows_what_it_changes(tmp_path: Path, ansible_playbook: AnsiblePlaybook, check: bool) -> None:
    back = {"good": [R1, R2], "current": R2, "answers": {"vllm_health": [health("ready", R1)]}}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": back, "h1": back})
    for host, release, length, address in (
        *(("h0", R1, "16384", "127.0.0.1"), ("h0", R2, "32768", "0.0.0.0")),
        *(("h1", R1, "16384", "0.0.0.0"), ("h1", R2, "16384", "0.0.0.0")),
    ):
        command = ["vllm", "serve", "m", "--max-model-len", length]
        service = {"image": "i", "command": command, "ports": [f"{address}:8000:8000"]}
        compose = yaml.safe_dump({"services": {"vllm-x": service}})
        (fleet.folder / host / "releases" / release / "compose.yaml").write_text(compose)
    code, output = fleet.run("rollback.yml", check=check)
    assert code == 0, output
    title = f"h0: what the rollback {'would change' if check else 'changes'}, compared with release {R2}"
    assert title in output
    assert "--max-model-len 32768 -> 16384" in output
    assert "WARNING: after the rollback, clients of other machines lose access" in output
    assert "h1: what the rollback" not in output  # the same


def test_who_has_nothing_to_go_back_to_is_asked_whether_it_serves(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    hosts = {
        name: {"good": [R1], "current": R1, "answers": {"vllm_health": [health(verdict, R1)]}}
        for name, verdict in (("h0", "ready"), ("h1", "failed"))
    }
    fleet = Fleet(ansible_playbook, tmp_path, hosts)
    code, output = fleet.run("rollback.yml", one_batch=True)
    assert code == 2, output
    assert "h0 has no good release before the current one" in failure(output, "h0")
    assert rows(output) == {"h0": ("-", "failed before the switch, serves"), "h1": ("-", "failed before the switch")}
    assert output.count(f"  {R1}  -  ") == len(hosts)


def test_what_a_second_run_costs(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """Each task costs a process on the controller, one that is skipped too."""
    serves = {"spark_info": [host_info(R2)], "vllm_health": [health("ready", R2)]}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {"good": [R2], "current": R2, "answers": serves}})
    code, output = fleet.run(extra={**EXTRA, "__vllm_supervision_wanted": {"files": {}, "units": {}}})
    assert code == 0, output
    asked = fleet.calls("h0", *STANDINS)
    assert [name for name, _asked in asked] == ["vllm_health"]
    run = Run(code, output)
    assert (run.count("h0", "changed"), run.count("h0", "failed")) == (0, 0), output
    assert run.count("h0", "ok") + run.count("h0", "skipped") <= 40, output


@pytest.mark.parametrize(
    ("check", "more", "code"),
    [(False, {}, 2), (True, {}, 2), (True, {"__container_runtime_gpu_changes": True}, 0)],
    ids=["alone", "a preview of it", "a preview of site.yml"],
)
def test_a_host_without_docker_is_refused_unless_this_run_would_install_it(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, check: bool, more: dict[str, t.Any], code: int
) -> None:
    bare = host_info()
    bare["spark"]["docker"] = None
    answers = {"spark_info": [bare], "vllm_health": [health("absent")]}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {"answers": answers}})
    found, output = fleet.run(extra={**EXTRA, **more}, check=check)
    assert found == code, output
    told = "Docker is not installed on h0; playbooks/prepare.yml installs it"
    assert (told in " ".join(output.split())) is bool(code)
    assert fleet.calls("h0", "systemd") == []


def test_a_preview_shows_what_would_be_installed_beside_a_release_that_stays(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    """The units, if they differ: the step is asked for, which fails here."""
    serves = {"spark_info": [host_info(R2)], "vllm_health": [health("ready", R2)]}
    host = {"good": [R2], "current": R2, "answers": serves}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {**host, "fails": "install_units"}})
    code, output = fleet.run(check=True)
    assert (code, "h0 fails in install_units" in output) == (2, True), output


def test_what_another_run_did_before_the_lock_was_taken(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """R1 serves at the first look; another run brings R2 into service, which is wanted."""
    other_run = {"holder": {"run": "x"}, "refused": False, "used_since": True}
    answers = {
        "deploy_lock": [other_run],
        "spark_info": [host_info(R1), host_info(R2)],
        "vllm_health": [health("ready", R1), health("ready", R2)],
    }
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {"good": [R1, R2], "current": R2, "answers": answers}})
    code, output = fleet.run(extra={**EXTRA, "__vllm_supervision_wanted": {"files": {}, "units": {}}})
    assert code == 0, output
    assert f"h0 serves m (release {R2}" in output
    asked = [name for name, _asked in fleet.calls("h0", *STANDINS)]
    assert asked == ["vllm_health", "deploy_lock", "vllm_health", "deploy_lock"]


def test_a_host_that_does_not_answer_the_first_call(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    lost = {"unreachable": True, "msg": "Connection reset by peer"}
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": {"current": R1, "answers": {"spark_info": [lost]}}})
    code, output = fleet.run()
    assert code == 2, output
    assert "h0 cannot be reached: Connection reset by peer. Nothing that runs was changed" in failure(output, "h0")
    assert [name for name, _asked in fleet.calls("h0", *STANDINS)] == ["vllm_health"]  # no lock, so none to release
