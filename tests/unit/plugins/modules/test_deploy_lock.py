# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock's file on the host, in a folder of the test."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import deploy_lock

ME = {"run": "boot/1/2/3", "user": "ann", "controller": "laptop"}
OTHER = {"run": "boot/1/4/5", "user": "bob", "controller": "desk"}
Result = dict[str, t.Any]


class Host:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.lock = folder / "vllm.lock"

    def run(self, run: t.Mapping[str, str] | None = None, **options: t.Any) -> Result:
        with patch_module_args({"service": "vllm", "run": run or ME, **options}), pytest.raises(SystemExit):
            deploy_lock.main()
        found: Result = json.loads(self.capsys.readouterr().out)
        assert "Traceback" not in json.dumps(found)
        return found

    def holds(self, run: t.Mapping[str, str], begun: float = 100, left: float = 100) -> None:
        """RUN has taken the lock, BEGUN seconds ago."""
        self.lock.parent.mkdir(exist_ok=True)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.lock.write_text(json.dumps({**run, "since": now - begun, "until": now + left}))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    monkeypatch.setattr(deploy_lock, "FOLDER", str(tmp_path / "run"))
    return Host(tmp_path / "run", capsys)


def holder_of(found: Result) -> str | None:
    return found["holder"] and found["holder"]["run"]


def test_taken_renewed_and_given_back(host: Host) -> None:
    first = host.run(lease=600)
    assert (first["changed"], first["refused"], first["healed"], holder_of(first)) == (False, False, None, ME["run"])
    assert first["lock_file"] == str(host.lock)
    assert abs(first["holder"]["since"] - time.time()) < 60
    assert 599 < first["holder"]["until"] - first["holder"]["since"] < 601
    again = host.run(lease=1200)
    assert again["healed"] is None
    assert abs(again["holder"]["since"] - first["holder"]["since"]) < 0.1
    assert again["holder"]["until"] > first["holder"]["until"] + 590
    freed = host.run(state="absent")
    assert (freed["refused"], freed["holder"], host.lock.read_text()) == (False, None, "")
    assert host.run(OTHER)["healed"] is None


def test_refused_while_another_run_holds_it(host: Host) -> None:
    host.holds(OTHER)
    before = host.lock.read_text()
    refused = host.run()
    assert (refused["refused"], holder_of(refused), refused["holder"]["user"]) == (True, OTHER["run"], "bob")
    assert 90 < time.time() - refused["holder"]["since"] < 160
    freed = host.run(state="absent")
    assert (freed["refused"], holder_of(freed)) == (False, OTHER["run"])
    assert host.lock.read_text() == before


@pytest.mark.parametrize(
    ("begun", "left", "dead"),
    [(100, 100, OTHER["run"]), (100, -1, None), (-1e6, 2e6, None)],
    ids=["the run is over", "the lease has ended", "of an earlier boot"],
)
def test_a_dead_lock_heals(host: Host, begun: float, left: float, dead: str | None) -> None:
    host.holds(OTHER, begun, left)
    found = host.run(dead=dead)
    assert (found["refused"], holder_of(found), found["healed"]["user"]) == (False, ME["run"], "bob")
    assert host.run(OTHER)["refused"]


def test_the_clock_of_the_host_ends_no_lock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.holds(OTHER)
    for seconds in (0.0, 4e9):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
        assert host.run()["refused"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"{", b"[" * 100_000, b'{"run": 1}', b"1234\n"])
def test_what_is_no_lock_is_taken(host: Host, content: bytes) -> None:
    host.lock.parent.mkdir()
    host.lock.write_bytes(content)
    found = host.run()
    assert (holder_of(found), found["healed"]) == (ME["run"], None)
    assert host.run(OTHER)["refused"]


def test_only_root_can_open_it(host: Host) -> None:
    host.run()
    assert host.lock.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "folder"])
def test_only_a_plain_file(host: Host, tmp_path: Path, kind: str) -> None:
    host.lock.parent.mkdir()
    target = tmp_path / "passwd"
    target.write_text("precious")
    if kind == "link":
        host.lock.symlink_to(target)
    elif kind == "link to nothing":
        host.lock.symlink_to(tmp_path / "nothing")
    elif kind == "pipe":
        os.mkfifo(host.lock)
    else:
        host.lock.mkdir()
    for options in ({}, {"state": "absent"}, {"_ansible_check_mode": True}):
        found = host.run(**options)
        assert found["failed"]
        assert found["msg"] == f"{host.lock} is not a plain file, and not ours. Look what it is, and remove it"
    assert target.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_cannot_be_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: str, **_how: t.Any) -> None:
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(os, "makedirs", read_only)
    assert host.run()["msg"] == f"{host.lock.parent}: Read-only file system"


def test_without_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str, **_how: t.Any) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "makedirs", denied)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert host.run()["msg"] == f"{host.lock.parent}: Permission denied. It needs root: become: true"


def test_check_mode_looks_and_makes_nothing(host: Host) -> None:
    found = host.run(_ansible_check_mode=True)
    assert (found["refused"], found["holder"], found["healed"]) == (False, None, None)
    assert not host.lock.parent.exists()
    host.holds(OTHER)
    before = host.lock.read_text()
    assert host.run(_ansible_check_mode=True)["refused"]
    found = host.run(_ansible_check_mode=True, dead=OTHER["run"])
    assert (found["refused"], found["healed"], holder_of(found)) == (False, None, OTHER["run"])
    assert host.lock.read_text() == before


def test_giving_back_what_nobody_has_makes_nothing(host: Host) -> None:
    assert host.run(state="absent")["holder"] is None
    assert not host.lock.parent.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"service": "../etc/x"}, "service: '../etc/x' is not allowed"),
        ({"service": ""}, "service: '' is not allowed"),
        ({"service": "a\n"}, "service: 'a\\n' is not allowed"),
        ({"lease": 0}, "lease: 0 is not allowed; use 1 second or more"),
        ({"run": None}, "run: it is empty; call deploy_lock from a task"),
        ({"run": {"run": "x"}}, "missing required arguments: controller, user found in run"),
    ],
)
def test_bad_options(host: Host, options: dict[str, t.Any], message: str) -> None:
    with patch_module_args({"service": "vllm", "run": ME, **options}), pytest.raises(SystemExit):
        deploy_lock.main()
    assert message in json.loads(host.capsys.readouterr().out)["msg"]
    assert not host.lock.parent.exists()


def test_whether_it_was_used_since(host: Host) -> None:
    """What was read before the lock was taken still holds unless another run had it in between."""
    assert host.run(since=time.time())["used_since"] is False  # nobody ever had it
    host.run(state="absent")
    os.utime(host.lock, (1000, 1000))
    assert host.run(since=1002)["used_since"] is False
    os.utime(host.lock, (1000, 1000))
    assert host.run(since=1000.5)["used_since"] is True
    assert host.run()["used_since"] is False  # it did not ask


def test_the_lock_of_a_dead_run_was_used(host: Host) -> None:
    """It may have gone on after the host was read, and has died since."""
    host.holds(OTHER, left=-1)
    os.utime(host.lock, (1000, 1000))
    assert host.run(since=2000)["used_since"] is True


def test_check_mode_tells_it_too(host: Host) -> None:
    assert host.run(since=0, _ansible_check_mode=True)["used_since"] is False
    host.holds(OTHER, left=-1)
    assert host.run(since=0, _ansible_check_mode=True)["used_since"] is True


RACER = """
import sys
from ansible_collections.dgxspark.vllm.plugins.modules.deploy_lock import change
sys.stdin.read()
run = {"run": sys.argv[2], "user": "u", "controller": "c"}
print(change(sys.argv[1], run, 600, None, False, False).fine)
"""


def test_of_many_at_once_one_gets_it(host: Host) -> None:
    host.holds(OTHER, left=-1)
    command = [sys.executable, "-c", RACER, str(host.lock)]
    with open(host.lock, encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # all of them come to this point
        racers = [
            subprocess.Popen([*command, f"r{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(4)
        ]
        for racer in racers:
            assert racer.stdin
            racer.stdin.close()
            racer.stdin = None
        deadline = time.monotonic() + 60
        while not all(waits(racer.pid) for racer in racers):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    answers = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert sorted(answers) == ["False", "False", "False", "True"]


def waits(pid: int) -> bool:
    """Whether a process waits for a lock."""
    return any(f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
