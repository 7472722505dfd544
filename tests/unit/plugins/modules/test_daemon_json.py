# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on a folder, with stand-ins for Docker and systemd that do what these do with daemon.json."""

from __future__ import annotations

import json
import os
import stat
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import daemon_json, docker_daemon
from ansible_collections.dgxspark.vllm.plugins.modules import daemon_json as module

PASSWORD = "S3cretPassw0rd"
PROXY = {"proxies": {"http-proxy": f"http://corp:{PASSWORD}@proxy.corp:3128"}}
NVIDIA = {"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}
Result = dict[str, t.Any]


class Killed(BaseException):
    pass


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.path = folder / "etc" / "docker" / "daemon.json"
        self.note = folder / "var" / "note.json"
        self.hook = folder / "hook"
        self.read: Result = {}  # what dockerd runs with
        self.active = True
        self.starts = 1
        self.containers = {"a" * 64: ["chat", "", True], "b" * 64: ["vllm-x", "vllm", True]}
        self.flags: set[str] = set()  # on dockerd's command line
        self.kill_at: str | None = None
        self.calls: list[str] = []
        self.warnings: list[str] = []
        monkeypatch.setattr(daemon_json, "PATH", str(self.path))
        monkeypatch.setattr(daemon_json, "NOTE", str(self.note))
        monkeypatch.setattr(docker_daemon, "PID_FILE", str(folder / "docker.pid"))
        monkeypatch.setattr(docker_daemon, "RELOAD_SECONDS", 0.5)
        (folder / "docker.pid").touch()
        monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: self.warnings.append(text))
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, words, **_more: self.command(words))
        monkeypatch.setattr(
            AnsibleModule,
            "get_bin_path",
            lambda _module, name, *_more: f"/usr/bin/{name}" if name != docker_daemon.HOOK else self._hook(),
        )

    def _hook(self) -> str | None:
        return str(self.hook) if self.hook.exists() else None

    def owner(self, content: Result, mode: int = 0o644) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(content))
        self.path.chmod(mode)
        self.read = content

    def content(self) -> Result:
        return json.loads(self.path.read_text())

    def _start(self) -> tuple[int, str, str]:
        content = self.content() if self.path.exists() else {}
        self.active = not self.flags & content.keys()
        if not self.active:
            return 1, "", "Job for docker.service failed"
        self.read, self.starts = content, self.starts + 1
        return 0, "", ""

    def command(self, words: list[str]) -> tuple[int, str, str]:
        call = " ".join([os.path.basename(words[0]), *words[1:]])
        if self.kill_at and call.startswith(self.kill_at):
            self.kill_at = None
            raise Killed
        verb = " ".join(call.split()[:2])
        if verb == "systemctl show":
            state = "active" if self.active else "failed"
            return 0, f"ActiveState={state}\nInvocationID={self.starts if self.active else ''}\n", ""
        if verb == "docker info":
            return 0, json.dumps({"runc": {}, **self.read.get("runtimes", {})}), ""
        if verb == "docker ps":
            rows = [f"{key}\t{name}\t{label}" for key, (name, label, running) in self.containers.items() if running]
            return 0, "\n".join(rows), ""
        if verb == "docker inspect":
            found = self.containers.get(words[-1])
            return (0, str(found[2]).lower(), "") if found else (1, "", "no such object")
        if verb == "docker events":
            return 0, "reload\n" if self.read == self.content() else "", ""
        if verb == "journalctl --unit=docker.service":
            return 0, f"invalid: specified both as a flag and in the file: {self.content()}\n", ""
        if verb == "dockerd --validate":
            content = json.loads(Path(words[2].partition("=")[2]).read_text())
            if "bad" in content:
                return 1, "", f"unable to configure the Docker daemon with file {words[2][14:]} unknown: {content}"
            return 0, "", ""
        if words[0].startswith("/usr/bin/") and verb.partition(" ")[0] in ("docker", "systemctl"):
            self.calls.append(call)
        if verb == "systemctl restart":
            for container in self.containers.values():
                container[2] = False
            return self._start()
        if verb == "systemctl start":
            return self._start()
        if verb == "systemctl reload" and not self.flags & self.content().keys():
            self.read = self.content()
        if verb == "docker start":
            self.containers[words[-1]][2] = True
        return 0, "", ""

    def run(self, state: str = "present", check: bool = False, **options: t.Any) -> Result:
        arguments = {"state": state, **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        printed = self.capsys.readouterr().out
        result: Result = json.loads(printed)
        result.pop("invocation", None)  # the options; the role sets no_log
        assert PASSWORD not in json.dumps(result)
        return result

    def both(self, **options: t.Any) -> tuple[Result, Result]:
        return self.run(options=options), self.run("applied")


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_an_existing_file_keeps_its_mode_and_a_new_one_is_readable(host: Host) -> None:
    host.owner(PROXY, mode=0o600)
    host.both(**NVIDIA)
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600
    assert host.content() == {**PROXY, **NVIDIA}
    assert list(host.content()) == ["proxies", "runtimes"]
    host.path.unlink()
    host.both(**NVIDIA)
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o644


def test_a_link_stays_a_link_and_its_target_is_written(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "real.json"
    target.write_text('{"log-driver": "journald"}')
    host.path.parent.mkdir(parents=True)
    host.path.symlink_to(target)
    host.both(**NVIDIA)
    assert host.path.is_symlink()
    assert json.loads(target.read_text()) == {"log-driver": "journald", **NVIDIA}


@pytest.mark.parametrize("content", [b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"[" * 100_000, b'{"a": ' + b"[" * 600])
def test_a_file_that_cannot_be_merged_stays_as_it_is(host: Host, content: bytes) -> None:
    host.path.parent.mkdir(parents=True)
    host.path.write_bytes(content)
    assert "Correct the file, or move it away" in host.run(options=NVIDIA)["msg"]
    assert host.path.read_bytes() == content
    assert not host.note.exists()


@pytest.mark.parametrize("runtimes", [5, "runc", [["a"]], [{}], None])
def test_odd_runtimes_are_dockers_own_matter(host: Host, runtimes: t.Any) -> None:
    host.owner({})
    host.path.write_text(json.dumps({"runtimes": runtimes}))
    assert host.run(options={"debug": True})["apply"] == "reload"
    assert host.content() == {"runtimes": runtimes, "debug": True}


@pytest.mark.parametrize("jump", [-365 * 86400, 365 * 86400])
def test_a_clock_that_is_set_during_a_reload_delays_nothing(
    host: Host, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker notes its reload by the clock of before; the look comes after."""
    host.owner({})
    host.run(options=NVIDIA)
    begin, reloads, set_by = time.time() - time.monotonic(), [], 0.0
    command = host.command

    def clock() -> float:
        return begin + set_by + time.monotonic()

    def run(words: list[str]) -> tuple[int, str, str]:
        nonlocal set_by
        if words[1] == "events":
            since, until = (float(word.partition("=")[2]) for word in words[2:4])
            return 0, "reload\n" if any(since <= when <= until for when in reloads) else "", ""
        answer = command(words)
        if words[1] == "reload":
            reloads.append(clock())
            set_by = jump
        return answer

    monkeypatch.setattr(docker_daemon, "RELOAD_SECONDS", 2)
    monkeypatch.setattr(docker_daemon.time, "time", clock)
    monkeypatch.setattr(host, "command", run)
    assert host.run("applied")["changed"] is True
    assert host.read == NVIDIA


@pytest.mark.parametrize("check", [True, False])
def test_a_password_is_in_no_diff(host: Host, check: bool) -> None:
    host.owner(PROXY)
    result = host.run(options={"log-opts": {"splunk-token": "t0ken-of-splunk"}}, check=check)
    assert "proxy.corp:3128" in result["diff"]["before"]
    assert PASSWORD not in json.dumps(result["diff"])
    assert "t0ken-of-splunk" not in json.dumps(result["diff"])
    assert result["changed_keys"] == ["log-opts"]


def test_dockers_complaints_hold_no_password_and_change_nothing(host: Host) -> None:
    host.owner(PROXY)
    for check in (True, False):
        result = host.run(options={"bad": 1}, check=check)
        assert "Docker rejects the new" in result["msg"]
        assert PASSWORD not in result["msg"]
    assert host.content() == PROXY
    assert not host.note.exists()


@pytest.mark.parametrize(
    ("options", "apply", "calls"),
    [
        (NVIDIA, "reload", ["systemctl reload docker.service"]),
        ({"insecure-registries": ["one:5000"]}, "reload", ["systemctl reload docker.service"]),
        (
            {"features": {"cdi": True}},
            "restart",
            [
                "systemctl reset-failed docker.service",
                "systemctl restart docker.service",
                f"docker start {'a' * 64}",
            ],
        ),
    ],
)
def test_docker_is_restarted_only_for_what_it_cannot_reload(
    host: Host, options: Result, apply: str, calls: list[str]
) -> None:
    host.owner({})
    present, applied = host.both(**options)
    assert (present["apply"], host.calls) == (apply, calls)
    assert present["containers"] == ([] if apply == "reload" else ["chat", "vllm-x"])
    assert applied["started"] == ([] if apply == "reload" else ["chat"])  # systemd starts ours
    assert host.read == host.content() == options
    assert not host.note.exists()
    assert (host.run(options=options)["changed"], host.run("applied")["changed"]) == (False, False)


def test_the_gpu_hook_that_came_after_docker_needs_a_restart(host: Host) -> None:
    host.owner({})
    os.utime(docker_daemon.PID_FILE, (1, 1))
    host.hook.touch()
    assert host.run(options=NVIDIA)["apply"] == "restart"


def test_a_toolkit_that_was_installed_needs_a_restart(host: Host) -> None:
    host.owner(NVIDIA)
    assert host.run(options=NVIDIA, restart=True)["apply"] == "restart"
    assert host.run("applied")["started"] == ["chat"]
    assert host.content() == NVIDIA


@pytest.mark.parametrize("options", [NVIDIA, {"dns": ["192.0.2.1"]}])
@pytest.mark.parametrize("kill_at", [None, "systemctl re", "docker events", "docker inspect"])
def test_an_interrupted_run_is_completed_by_the_next(host: Host, kill_at: str | None, options: Result) -> None:
    host.owner({"log-driver": "journald"})
    host.run(options=options)
    if kill_at:
        host.kill_at = kill_at
        with patch_module_args({"state": "applied"}), pytest.raises((Killed, SystemExit)):
            module.main()
        host.capsys.readouterr()
        host.kill_at = None
    host.both(**options)
    assert host.read == host.content()
    assert host.containers["a" * 64][2], "what ran before runs again"
    assert not host.note.exists()
    assert host.starts <= 2, "one restart is enough"


def test_after_a_boot_with_the_file_nothing_is_left_to_do(host: Host) -> None:
    host.owner({})
    host.run(options={"dns": ["192.0.2.1"]})
    host.note.write_text(json.dumps({**json.loads(host.note.read_text()), "boot": "another"}))
    host.containers["a" * 64][2] = False
    host._start()
    assert host.run(options={"dns": ["192.0.2.1"]})["apply"] == "none"
    assert host.calls == []
    assert not host.note.exists()


@pytest.mark.parametrize("boot", [False, True])
def test_the_file_goes_back_if_docker_does_not_start_with_it(host: Host, boot: bool) -> None:
    host.owner(PROXY, mode=0o600)
    host.flags = {"dns"}
    host.run(options={"dns": ["192.0.2.1"]})
    if boot:  # the run ended there, and Docker did not come up with the host
        assert host._start()[0] == 1
        assert host.run(options={"dns": ["192.0.2.1"]})["apply"] == "restart"
    result = host.run("applied")
    assert "The previous file is restored, and Docker runs with it" in result["msg"]
    assert PASSWORD not in result["msg"]
    assert (host.content(), host.active, host.note.exists()) == (PROXY, True, False)
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600


def test_the_file_goes_back_if_docker_does_not_reload_it(host: Host) -> None:
    host.owner({"log-driver": "journald"})
    host.flags = {"runtimes"}
    host.run(options=NVIDIA)
    assert "previous file is restored" in host.run("applied")["msg"]
    assert host.content() == {"log-driver": "journald"}
    assert "systemctl restart docker.service" not in host.calls


def test_a_file_that_was_not_there_is_removed_again(host: Host) -> None:
    host.flags = {"dns"}
    host.both(dns=["192.0.2.1"])
    assert not host.path.exists()


def test_check_mode_changes_nothing(host: Host) -> None:
    result = host.run(options=NVIDIA, check=True)
    assert (result["changed"], result["apply"]) == (True, "reload")
    assert not host.path.parent.exists()
    assert not host.note.exists()
