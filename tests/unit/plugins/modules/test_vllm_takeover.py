# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with stand-ins for Docker and systemd that do what these do, and can be interrupted at every call."""

from __future__ import annotations

import copy
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_takeover

Result = dict[str, t.Any]
Answer = tuple[int, str, str]
GUIDE = {"com.docker.compose.project": "llm", "com.docker.compose.service": "vllm"}
NAME = "vllm-qwen3-8b-fp8"


class Killed(BaseException):
    pass


class Host:
    """Containers and units, and who asked for what."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.home = folder / "vllm"
        self.home.mkdir()
        self.note = self.home / "taken_over.json"
        self.programs = {"docker", "systemctl"}
        self.containers: dict[str, dict[str, t.Any]] = {}
        self.units: dict[str, dict[str, t.Any]] = {}
        self.calls: list[str] = []
        self.warnings: list[str] = []
        self.daemon = True
        self.broken: str | None = None
        self.kill_at: int | None = None  # after so many calls that change something
        monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: self.warnings.append(text))
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, words: self.command(words))

        def find(module: AnsibleModule, program: str, required: bool = False) -> str | None:
            if required and program not in self.programs:
                module.fail_json(msg=f"Failed to find required executable {program}")
            return f"/usr/bin/{program}" if program in self.programs else None

        monkeypatch.setattr(AnsibleModule, "get_bin_path", find)

    def container(self, name: str, running: bool = True, **values: t.Any) -> str:
        defaults = {"labels": {}, "restart": "no", "image": "nvcr.io/nvidia/vllm:25.09-py3", "auto_remove": False}
        ident = f"{len(self.containers) + 1:064x}"
        self.containers[ident] = {**defaults, "name": name, "running": running, **values}
        return ident

    def service(self, name: str, container: str, active: str = "active", file: str = "enabled") -> str:
        self.units[f"{name}.service"] = {"active": active, "file": file, "known": file, "starts": 3}
        return self.container(container, active == "active", labels={**GUIDE, "dgxspark.vllm.service": name})

    def find(self, name: str) -> str | None:
        return next((key for key, box in self.containers.items() if name in (key, box["name"])), None)

    def command(self, words: list[str]) -> Answer:
        program, verb = os.path.basename(words[0]), words[1]
        call = " ".join([program, *words[1:]])
        looks = verb in ("inspect", "show")
        if not looks:
            if self.kill_at == 0:
                raise Killed
            self.calls.append(call)
        if self.broken and self.broken in call:
            return 1, "", f"Error response from daemon: {self.broken} is broken"
        answer = self.docker(verb, words) if program == "docker" else self.systemctl(verb, words)
        if not looks and self.kill_at is not None:
            self.kill_at -= 1
        return answer

    def docker(self, verb: str, words: list[str]) -> Answer:
        if not self.daemon:
            return 1, "", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock"
        name = words[2] if verb == "rename" else words[-1]
        found = self.find(name)
        if found is None:
            return 1, "[]", f"Error response from daemon: No such container: {name}"
        box = self.containers[found]
        if verb == "inspect":
            return 0, json.dumps([self.inspected(found)]), ""
        if verb == "update":
            box["restart"] = words[3]
        elif verb == "stop":
            box["running"] = False
            if box["auto_remove"]:
                del self.containers[found]
        elif verb == "start":
            box["running"] = True
        elif verb == "rename":
            if self.find(words[3]):
                return 1, "", f'Conflict. The container name "/{words[3]}" is already in use'
            box["name"] = words[3]
        elif verb == "rm":
            assert not box["running"]
            del self.containers[found]
        else:
            raise AssertionError(words)
        return 0, "", ""

    def inspected(self, ident: str) -> dict[str, t.Any]:
        box = self.containers[ident]
        return {
            "Id": ident,
            "Name": f"/{box['name']}",
            "State": {"Running": box["running"]},
            "Config": {"Image": box["image"], "Labels": box["labels"], "Env": ["HF_TOKEN=hf_secretsecret"]},
            "Path": "vllm",
            "Args": ["serve", "--api-key", "s3cret"],
            "HostConfig": {"RestartPolicy": {"Name": box["restart"]}, "AutoRemove": box["auto_remove"]},
        }

    def systemctl(self, verb: str, words: list[str]) -> Answer:
        name = words[-1]
        if verb == "daemon-reload":
            assert not any(unit["active"] == "active" for unit in self.units.values())
            for unit in self.units.values():
                unit["known"] = unit["file"]
            return 0, "", ""
        unit = self.units.get(name)
        if verb == "show":
            load = "loaded" if unit else "not-found"
            state = unit or {"active": "inactive", "file": ""}
            return 0, f"LoadState={load}\nActiveState={state['active']}\nUnitFileState={state['file']}\n", ""
        if unit is None:
            return 1, "", f"Failed: Unit file {name} does not exist."
        if verb in ("enable", "disable"):
            assert "--no-reload" in words
            assert "--now" not in words
            unit["file"] = f"{verb}d"
        elif verb == "reset-failed":
            if not unit["starts"]:
                return 1, "", f"Failed to reset failed state of unit {name}: Unit {name} not loaded."
            unit["starts"] = 0
        elif verb == "start" and unit["starts"] >= 4:
            return 1, "", f"{name}: Start request repeated too quickly."
        else:
            unit["starts"] += verb == "start"
            was = unit["active"] == "active"
            unit["active"] = "active" if verb == "start" else "inactive"
            for box in self.containers.values():
                if f"{box['labels'].get('dgxspark.vllm.service')}.service" == name and (was or verb == "start"):
                    box["running"] = verb == "start"
        return 0, "", ""

    def after_restart_of_docker(self) -> set[str]:
        """Who runs when Docker, or the host, has started anew."""
        boxes = self.containers.values()
        up = {box["name"] for box in boxes if box["restart"] == "always"}
        up |= {box["name"] for box in boxes if box["running"] and box["restart"] == "unless-stopped"}
        return up | {name for name, unit in self.units.items() if "enabled" in (unit["file"], unit["known"])}

    def look(self) -> t.Any:
        units = {name: {**unit, "starts": None} for name, unit in self.units.items()}
        return copy.deepcopy((self.containers, units))

    def noted(self) -> list[Result]:
        return list(json.loads(self.note.read_text())["holders"]) if self.note.exists() else []

    def run(self, state: str, *containers: str, **options: t.Any) -> Result:
        arguments = {"state": state, "home": str(self.home), **options}
        if state != "started":
            arguments["containers"] = list(containers)
        self.calls.clear()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            vllm_takeover.main()
        output = self.capsys.readouterr().out
        assert "s3cret" not in output
        assert "secretsecret" not in output
        assert "Traceback" not in output
        found: Result = json.loads(output)
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_found(host: Host) -> None:
    host.container("by-hand", restart="always")
    host.service("vllm-b", "vllm-b-x")
    found = host.run("found", "by-hand", "vllm-b-x", "nothing", home=None)
    assert found["changed"] is False
    assert [holder["description"] for holder in found["holders"]] == [
        "the container by-hand, which was started by hand",
        "the service vllm-b (container vllm-b-x)",
    ]
    assert (host.calls, host.noted()) == ([], [])


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


@pytest.mark.parametrize("systemd", [True, False])
def test_a_service_whose_unit_is_gone(host: Host, systemd: bool) -> None:
    box = host.container("old", labels={**GUIDE, "dgxspark.vllm.service": "vllm-old"})
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
    host.container(NAME, labels={**GUIDE, "dgxspark.vllm.service": "vllm"}, running=False)  # the release that failed
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
    assert host.run("found", "by-hand")["holders"] == []
    assert host.run("started", home=str(host.home / "nothing"))["changed"] is False


def test_docker_that_is_gone_or_down_is_no_empty_host(host: Host) -> None:
    host.container("by-hand")
    host.run("stopped", "by-hand")
    host.daemon = False
    assert "Cannot connect to the Docker daemon" in host.run("started")["msg"]
    assert host.run("found", "by-hand")["msg"].startswith("docker inspect by-hand ended with 1: Cannot connect")
    assert host.run("stopped", "by-hand")["failed"]
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
    assert [holder["auto_remove"] for holder in host.run("found", "by-hand", "trial")["holders"]] == [False, True]
    found = host.run("stopped", "by-hand", "trial", _ansible_check_mode=check)
    assert found["msg"] == (
        "trial: started with --rm, so Docker removes it when it stops, and it could not be started again if the new"
        " release fails. Nothing was stopped. Stop it yourself: docker stop trial"
    )
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
    assert host.run("found", stop_timeout=-1)["msg"] == "stop_timeout: -1 is not allowed; use 0 seconds or more"
    for home in ("", None):
        for state in ("started", "stopped"):
            assert host.run(state, home=home)["msg"] == "home: it is empty; name the folder of the service"


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
        host.container(NAME, labels={"dgxspark.vllm.service": "vllm"}, running=False)  # the release that failed
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
