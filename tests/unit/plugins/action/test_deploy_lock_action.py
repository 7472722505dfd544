# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In whose name the lock is asked for, and whether the run that has it is over: with real processes."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.dgxspark.vllm.plugins.action import deploy_lock

Answer = dict[str, t.Any]
HOLDER = {"run": "elsewhere/1/2/3", "user": "bob", "controller": "desk", "since": 1795644000.4, "until": 1795651200.0}


class Stage:
    """Plays answers of the module to the action plugin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[Answer] = []
        self.asked: list[Answer] = []
        self.lines: list[str] = []
        self.task = SimpleNamespace(
            async_val=0, check_mode=False, no_log=False, delegate_to=None, args={"service": "vllm", "lease": 60}
        )
        monkeypatch.setattr(deploy_lock.display, "display", self.lines.append)

    def execute(self, module_name: str, module_args: Answer, task_vars: Answer) -> Answer:
        assert module_name == "dgxspark.vllm.deploy_lock"
        self.asked.append(module_args)
        return dict(self.answers[len(self.asked) - 1])

    def run(self, *answers: Answer, **variables: t.Any) -> Answer:
        self.answers = list(answers)
        action = deploy_lock.ActionModule(self.task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        action._execute_module = self.execute
        found: Answer = action.run(task_vars={"inventory_hostname": "spark01", **variables})
        return found


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def answer(**values: t.Any) -> Answer:
    lock_file = "/run/dgxspark.vllm/vllm.lock"
    return {"changed": False, "refused": False, "healed": None, "holder": HOLDER, "lock_file": lock_file, **values}


def of_this_machine(pid: int, began: str | None = None) -> str:
    return f"{deploy_lock.machine()}/{pid}/{deploy_lock.started(pid) if began is None else began}"


def test_taken_in_the_name_of_this_run(stage: Stage) -> None:
    found = stage.run(answer())
    assert "refused" not in found
    assert "failed" not in found
    asked = stage.asked[0]
    assert (asked["service"], asked["lease"], "dead" in asked) == ("vllm", 60, False)
    assert asked["run"] == {
        "run": of_this_machine(os.getpid()),
        "user": getpass.getuser(),
        "controller": socket.gethostname(),
    }
    assert stage.lines == []


def test_refused_by_user_machine_and_time(stage: Stage) -> None:
    found = stage.run(answer(refused=True))
    assert (found["failed"], found["changed"], len(stage.asked)) == (True, False, 1)
    assert found["msg"] == (
        "Another run works on spark01: bob on desk since 2026-11-25 22:00:00 UTC. Nothing that runs was changed."
        " Wait until that one has ended; if it is dead, its lock ends at 2026-11-26 00:00:00 UTC,"
        " or at once with: sudo rm /run/dgxspark.vllm/vllm.lock on spark01"
    )


@pytest.mark.parametrize(
    ("delegate_to", "on"), [(None, "spark01"), ("spark02-vllm-two", "spark02"), ("spark03", "spark03")]
)
def test_the_file_is_removed_on_a_machine(stage: Stage, delegate_to: str | None, on: str) -> None:
    """A service beside others is a host of the inventory, and no machine."""
    stage.task.delegate_to = delegate_to
    services = {"spark01-vllm": {"dgxspark_host": "spark01"}, "spark02-vllm-two": {"dgxspark_host": "spark02"}}
    hosts = {**services, "spark03": {"ansible_host": "10.0.0.3"}}
    found = stage.run(answer(refused=True), inventory_hostname="spark01-vllm", dgxspark_host="spark01", hostvars=hosts)
    assert found["msg"].startswith(f"Another run works on {delegate_to or 'spark01-vllm'}: bob on desk")
    assert found["msg"].endswith(f"sudo rm /run/dgxspark.vllm/vllm.lock on {on}")


def test_a_dead_run_of_this_machine_is_named_to_the_module(stage: Stage) -> None:
    dead = {**HOLDER, "run": of_this_machine(os.getpid(), "1")}
    found = stage.run(answer(refused=True, holder=dead), answer(healed=dead))
    assert "failed" not in found
    assert stage.asked[1]["dead"] == dead["run"]
    assert stage.asked[1]["run"] == stage.asked[0]["run"]
    assert stage.lines == [
        "spark01 | the lock of a run that is over was taken (of bob on desk since 2026-11-25 22:00:00 UTC)"
    ]


def test_somebody_was_faster(stage: Stage) -> None:
    dead = {**HOLDER, "run": of_this_machine(os.getpid(), "1")}
    found = stage.run(answer(refused=True, holder=dead), answer(refused=True))
    assert found["failed"]
    assert "works on spark01: bob on desk" in found["msg"]


def test_silent_where_a_program_reads(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_lock, "is_wanted_on_screen", lambda: False)
    assert stage.run(answer(healed=HOLDER))["healed"] == HOLDER
    assert stage.lines == []


def test_a_failure_of_the_module_is_passed_on(stage: Stage) -> None:
    found = stage.run({"failed": True, "msg": "no root"})
    assert (found["failed"], found["msg"]) == (True, "no root")


def test_a_task_speaks_for_the_process_that_has_forked_it() -> None:
    context = multiprocessing.get_context("fork")  # as ansible-core does
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(deploy_lock.this_run()["run"]))
    child.start()
    assert ours.poll(60)
    assert ours.recv() == of_this_machine(os.getpid())
    child.join()


def test_a_task_that_outlives_its_playbook_takes_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=ended()))
    with pytest.raises(AnsibleActionFail, match="was killed"):
        stage.run(answer())
    assert stage.asked == []


def ended() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_who_is_over() -> None:
    mine = of_this_machine(os.getpid())
    assert not deploy_lock.is_over(mine)
    assert deploy_lock.is_over(of_this_machine(ended(), "123"))
    assert deploy_lock.is_over(of_this_machine(os.getpid(), "123"))  # another process has its number now
    assert not deploy_lock.is_over(f"another-{mine}")
    assert not deploy_lock.is_over(of_this_machine(os.getpid(), "?"))  # it lives, and may be that one
    for run in ("", "x", deploy_lock.machine(), f"{deploy_lock.machine()}/x/1", f"{deploy_lock.machine()}/{10**12}/1"):
        assert not deploy_lock.is_over(run)


def test_a_zombie_is_over() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run = of_this_machine(process.pid)
        assert not deploy_lock.is_over(run)
        process.kill()
        deadline = time.monotonic() + 60
        while b") Z" not in Path(f"/proc/{process.pid}/stat").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert deploy_lock.is_over(run)


def test_a_name_cannot_hide_the_state_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stat = "7 (a) Z 1 ) S " + " ".join(map(str, range(4, 53)))
    monkeypatch.setattr(Path, "read_text", lambda *_how, **_more: stat)
    assert deploy_lock.started(7) == "22"


@pytest.mark.parametrize(("error", "over"), [(PermissionError, False), (ProcessLookupError, True), (None, False)])
def test_a_process_that_cannot_be_seen(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError] | None, over: bool
) -> None:
    """/proc can be mounted so that it hides the processes of others; macOS has none."""

    def kill(_pid: int, signal: int) -> None:
        assert signal == 0
        if error:
            raise error

    run = of_this_machine(1, "123")
    machine = deploy_lock.machine()
    monkeypatch.setattr(deploy_lock, "machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", MagicMock(side_effect=FileNotFoundError))
    monkeypatch.setattr(os, "kill", kill)
    assert deploy_lock.is_over(run) is over


def test_without_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", MagicMock(side_effect=FileNotFoundError))
    assert deploy_lock.machine() == socket.gethostname()
    assert not deploy_lock.is_over(of_this_machine(os.getpid()))
    assert deploy_lock.is_over(of_this_machine(ended(), "?"))


def test_odd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "an\nn\x1b[31m")
    monkeypatch.setattr(socket, "gethostname", lambda: "lap\ttop")
    run = deploy_lock.this_run()
    assert (run["user"], run["controller"]) == ("an n", "lap top")


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("no username")])
def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(getpass, "getuser", MagicMock(side_effect=error))
    assert re.fullmatch(r"uid \d+", deploy_lock.this_run()["user"])
