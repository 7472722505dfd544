# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with stand-ins for Docker and systemd (docker_host.py)."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_takeover
from docker_host import GUIDE, NAME, Host, Killed, service_labels


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("restart", ["no", "always", "unless-stopped", "on-failure"])
@pytest.mark.parametrize("labels", [{}, GUIDE])
def test_a_container_is_stopped_for_good_and_started_as_it_was(
    host: Host, restart: str, labels: dict[str, str]
) -> None:
    host.container("by-hand", restart=restart, labels=labels)
    before = host.look()
    stopped = host.run("stopped", "by-hand")
    assert (stopped["changed"], stopped["holders"][0]["restart"]) == (True, restart)
    assert not host.containers[host.find("by-hand") or ""]["running"]
    assert host.after_restart_of_docker() == set()
    assert host.run("stopped", "by-hand")["changed"] is False
    started = host.run("started")
    assert (started["changed"], started["holders"][0]["name"]) == (True, "by-hand")
    assert (host.look(), host.note.exists()) == (before, False)
    assert (host.run("started")["changed"], host.calls) == (False, [])


@pytest.mark.parametrize("file", ["enabled", "disabled"])
@pytest.mark.parametrize("active", ["active", "activating"])
def test_a_service_is_stopped_for_good_and_started_as_it_was(host: Host, active: str, file: str) -> None:
    host.service("vllm-b", "vllm-b-x", active, file)
    for _time in range(4):  # more often than systemd allows by itself
        host.run("stopped", "vllm-b-x")
        assert host.units["vllm-b.service"]["active"] == "inactive"
        assert host.after_restart_of_docker() == set()
        assert host.run("started")["changed"]
        unit = host.units["vllm-b.service"]
        assert (unit["active"], unit["file"], unit["known"]) == ("active", file, file)


def test_what_served_beside_it_is_noted_once(host: Host) -> None:
    """A later run finds our own service stopped already."""
    host.container("by-hand")
    host.container("other")
    host.run("stopped", "by-hand", beside="0123456789ab")
    host.run("stopped", "other", beside="")
    assert json.loads(host.note.read_text())["beside"] == "0123456789ab"
    host.run("started")
    host.run("stopped", "by-hand", beside="")
    assert json.loads(host.note.read_text())["beside"] is None


def test_a_service_that_runs_without_its_unit(host: Host) -> None:
    box = host.service("vllm-b", "vllm-b-x", "inactive")
    host.containers[box]["running"] = True
    host.run("stopped", "vllm-b-x")
    assert not host.containers[box]["running"]


@pytest.mark.parametrize("label", ["ssh", "vllm", "vllm-b"])
@pytest.mark.parametrize("unit", ["", "[Service]\nWorkingDirectory=/srv/current\n"])
def test_a_label_is_no_reason_to_touch_a_unit(host: Host, label: str, unit: str) -> None:
    """Any image can bring it along: the container is stopped if it serves vLLM, and the unit of that name is not."""
    host.units[f"{label}.service"] = {"active": "active", "file": "enabled", "known": "enabled", "starts": 1}
    if unit:
        (host.unit_files / f"{label}.service").write_text(unit)
    box = host.container("chat-ui", image="someone/chat-ui:1", labels=service_labels(label))
    before = host.look()
    (stopped,) = host.run("stopped", "chat-ui")["holders"]
    assert (stopped["kind"], stopped["service"]) == ("compose", None)
    assert host.calls == [f"docker stop -t 60 {box}"]
    host.run("started")
    assert (host.look(), host.calls) == (before, [f"docker start {box}"])


@pytest.mark.parametrize("systemd", [True, False])
@pytest.mark.parametrize("installed", [True, False])
def test_a_service_whose_unit_is_gone(host: Host, systemd: bool, installed: bool) -> None:
    box = host.container("old", labels=service_labels("vllm-old"))
    if installed:  # and systemd has not read it
        host.installed("vllm-old")
    before = host.look()
    if not systemd:
        host.programs.discard("systemctl")
    assert host.run("stopped", "old")["holders"][0]["kind"] == "compose"
    assert not host.containers[box]["running"]
    host.run("started")
    assert host.look() == before


def test_the_name_is_made_free_and_given_back(host: Host) -> None:
    """The guide's own Compose project: its container has the name that ours has too."""
    guide = host.container(NAME, labels=GUIDE, restart="unless-stopped")
    host.container(f"{NAME}-before-1", running=False)
    before = host.look()
    stopped = host.run("stopped", NAME, vacate=NAME)
    assert stopped["holders"][0]["renamed"] == f"{NAME}-before-2"
    assert host.containers[guide]["name"] == f"{NAME}-before-2"
    host.installed("vllm")
    host.container(NAME, labels=service_labels("vllm"), running=False)  # the release that failed
    assert host.run("started")["changed"]
    assert host.look() == before


def test_a_stopped_container_that_has_the_name(host: Host) -> None:
    guide = host.container(NAME, labels=GUIDE, restart="always", running=False)
    other = host.container("idle", running=False, restart="always")
    before = host.look()
    host.run("stopped", NAME, "idle", vacate=NAME)
    assert host.containers[guide]["name"] == f"{NAME}-before-1"
    assert host.containers[other] == before[0][other]  # in nobody's way
    assert [holder["name"] for holder in host.noted()] == [NAME]
    host.run("started")
    assert host.look() == before


def test_a_name_that_somebody_else_has_by_now(host: Host) -> None:
    guide = host.container(NAME, labels=GUIDE)
    host.run("stopped", NAME, vacate=NAME)
    host.container(NAME, image="debian:12", running=False)
    assert host.run("started")["changed"]
    assert host.warnings == [f"{NAME}-before-1 keeps this name: another container is called {NAME} now"]
    assert host.containers[guide]["running"]
    assert len(host.containers) == 2


def test_started_where_nothing_was_noted_needs_nothing(host: Host) -> None:
    host.programs.clear()
    for mode in (True, False):
        found = host.run("started", _ansible_check_mode=mode)
        assert (found["changed"], found["holders"]) == (False, [])
    assert host.run("started", home=str(host.home / "nothing"))["changed"] is False


def test_docker_that_is_gone_or_down_is_no_empty_host(host: Host) -> None:
    host.container("by-hand")
    host.run("stopped", "by-hand")
    host.daemon = False
    assert "Cannot connect to the Docker daemon" in host.run("started")["msg"]
    stopped = host.run("stopped", "by-hand")
    assert stopped["msg"].startswith("docker inspect by-hand ended with 1: Cannot connect")
    assert [holder["name"] for holder in host.noted()] == ["by-hand"]


def test_check_mode(host: Host) -> None:
    host.container("by-hand", restart="always")
    before = host.look()
    found = host.run("stopped", "by-hand", _ansible_check_mode=True)
    assert (found["changed"], host.look(), host.calls, host.note.exists()) == (True, before, [], False)
    host.run("stopped", "by-hand")
    before = host.look()
    found = host.run("started", _ansible_check_mode=True)
    assert (found["changed"], host.look(), host.calls, host.note.exists()) == (True, before, [], True)


@pytest.mark.parametrize("check", [True, False])
def test_what_docker_would_remove_is_not_stopped(host: Host, check: bool) -> None:
    host.container("by-hand")
    host.container("trial", auto_remove=True)
    before = host.look()
    found = host.run("stopped", "by-hand", "trial", _ansible_check_mode=check)
    assert found["msg"] == (
        "trial: started with --rm, so Docker removes it when it stops, and it could not be started again if the new"
        " release fails. Nothing was stopped. Stop it yourself: docker stop trial"
    )
    assert (host.look(), host.calls, host.note.exists()) == (before, [], False)


@pytest.mark.parametrize("check", [True, False])
def test_what_does_not_serve_vllm_is_not_stopped(host: Host, check: bool) -> None:
    host.container("by-hand")
    host.container("router", image="lmcache/vllm-router:1", program="vllm-router")
    before = host.look()
    found = host.run("stopped", "by-hand", "router", _ansible_check_mode=check)
    assert found["msg"] == "router: does not serve vLLM, so it is not stopped. Nothing was changed"
    assert (host.look(), host.calls, host.note.exists()) == (before, [], False)


def test_one_that_cannot_be_started_keeps_no_other_down(host: Host) -> None:
    for name in ("a", "b", "c"):
        host.container(name)
    before = host.look()
    host.run("stopped", "a", "b", "c")
    host.broken = f"start {host.find('a')}"
    found = host.run("started")
    assert f"docker start {host.find('a')} ended with 1" in found["msg"]
    assert [box["running"] for box in host.containers.values()] == [False, True, True]
    assert len(host.noted()) == 3  # a later run tries again
    host.broken = None
    host.run("started")
    assert (host.look(), host.note.exists()) == (before, False)


def test_a_container_that_somebody_has_removed(host: Host) -> None:
    host.container("a")
    host.container("b")
    host.run("stopped", "a", "b")
    del host.containers[host.find("a") or ""]
    assert host.run("started")["changed"]
    assert host.warnings == ["a cannot be started again: somebody has removed it"]
    assert host.containers[host.find("b") or ""]["running"]
    assert not host.note.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"holders": 5}', '{"holders": [5, {"name": "x"}]}', "\0"])
def test_a_note_that_says_nothing(host: Host, content: str) -> None:
    host.container("by-hand")
    host.note.write_text(content)
    assert host.run("started")["changed"] is False
    host.run("stopped", "by-hand")
    assert [holder["name"] for holder in host.noted()] == ["by-hand"]


def test_without_its_note_nothing_is_stopped(host: Host) -> None:
    host.container("by-hand")
    before = host.look()
    found = host.run("stopped", "by-hand", home=str(host.home / "nothing"))
    assert found["msg"].endswith("No such file or directory")
    assert host.look() == before


def test_bad_options(host: Host) -> None:
    for state in ("started", "stopped"):
        assert host.run(state, home="")["msg"] == "home: it is empty; name the folder of the service"
        assert "home" in host.run(state, home=None)["msg"]
    missing = host.call(vllm_takeover, {"state": "stopped", "home": str(host.home)})
    assert missing["msg"] == "state is stopped but all of the following are missing: containers"
    assert "state" in host.run("found")["msg"]


def everything(host: Host) -> None:
    """Whatever can hold a port."""
    host.container(NAME, labels=GUIDE, restart="always")
    host.service("vllm-b", "vllm-b-x")
    host.service("vllm-c", "vllm-c-x", file="disabled")
    host.units["vllm-c.service"]["starts"] = 0
    host.container("by-hand", restart="unless-stopped")


ALL = (NAME, "vllm-b-x", "vllm-c-x", "by-hand")


def interrupted(host: Host, state: str, at: int) -> bool:
    """Whether a run was killed at its call number AT that changes something."""
    host.kill_at = at
    options: dict[str, t.Any] = {"state": state, "home": str(host.home)}
    if state == "stopped":
        options.update(containers=list(ALL), vacate=NAME)
    try:
        with patch_module_args(options), pytest.raises(SystemExit):
            vllm_takeover.main()
    except Killed:
        return True
    finally:
        host.kill_at = None
        host.capsys.readouterr()
    return False


@pytest.mark.parametrize("then", ["once more", "give back"])
def test_a_stop_that_was_interrupted_anywhere(host: Host, then: str) -> None:
    """Each run dies one call later than the one before it: on what that one has left, or after that was given back."""
    everything(host)
    before = host.look()
    at = 0
    while interrupted(host, "stopped", at):
        assert len(host.noted()) == len(ALL)  # all, and each once
        if then == "give back":
            host.run("started")
            assert (host.look(), host.note.exists()) == (before, False)
        at += 1
    host.run("stopped", *ALL, vacate=NAME)
    assert (host.after_restart_of_docker(), len(host.noted())) == (set(), len(ALL))
    assert not any(box["running"] for box in host.containers.values())
    assert host.find(NAME) is None
    host.run("started")
    assert host.look() == before


def test_a_start_that_was_interrupted_anywhere(host: Host) -> None:
    everything(host)
    before = host.look()
    at = 0
    while True:
        host.run("stopped", *ALL, vacate=NAME)
        host.installed("vllm")
        host.container(NAME, labels=service_labels("vllm"), running=False)  # the release that failed
        if not interrupted(host, "started", at):
            break
        host.run("started")
        assert (host.look(), host.note.exists()) == (before, False)
        at += 1
    assert at >= 8
    assert host.look() == before


def test_interrupted_by_the_end_of_the_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    everything(host)
    before = host.look()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert host.run("stopped", *ALL)["msg"] == f"{host.note}: No space left on device"
    assert (host.look(), host.calls) == (before, [])


@pytest.mark.parametrize("restart", ["no", "always"])
def test_what_was_replaced_is_started_when_the_service_is_removed(host: Host, restart: str) -> None:
    """The deployment is proven: the note has moved."""
    host.container(NAME, restart=restart, labels=GUIDE)
    before = host.look()
    host.run("stopped", NAME, vacate=NAME)
    host.note.rename(host.home / "replaced.json")
    assert host.run("started")["changed"] is False
    stopped = host.look()
    asked = host.run("started", replaced=True, _ansible_check_mode=True)
    update = f"sudo docker update --restart always {NAME} && " if restart == "always" else ""
    rename = f"sudo docker rename {NAME}-before-1 {NAME} && "
    assert asked["holders"][0]["command"] == f"{rename}{update}sudo docker start {NAME}"
    assert (asked["changed"], host.look()) == (True, stopped)
    assert host.run("started", replaced=True)["changed"]
    assert (host.look(), host.warnings) == (before, [])
    assert host.run("started", replaced=True)["changed"] is False


def test_a_service_that_was_replaced_is_started_by_systemd(host: Host) -> None:
    host.service("vllm-b", "vllm-b-x", "active", "enabled")
    host.run("stopped", "vllm-b-x")
    host.note.rename(host.home / "replaced.json")
    (asked,) = host.run("started", replaced=True, _ansible_check_mode=True)["holders"]
    assert asked["command"] == "sudo systemctl enable --now vllm-b.service"
    host.run("started", replaced=True)
    assert host.units["vllm-b.service"]["active"] == "active"


def test_what_was_replaced_and_is_gone_or_runs_is_left_out(host: Host) -> None:
    host.container("gone")
    host.container("runs")
    host.run("stopped", "gone", "runs")
    host.note.rename(host.home / "replaced.json")
    del host.containers[host.find("gone") or ""]
    host.containers[host.find("runs") or ""]["running"] = True
    found = host.run("started", replaced=True)
    assert (found["changed"], found["holders"]) == (False, [])
