# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guard and watchdog of hosts that serve one model together: who waits for whom, and who is restarted when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.peers import CLOSED, OPEN, SILENT, Connection, Peers
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import Canary, Completion
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import refusal
from ansible_collections.dgxspark.vllm.roles.vllm.files import guard, watchdog
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Service

HEAD, WORKER, PORT = "10.0.0.1", "10.0.0.2", 29501
ONE = "1" * 12
TOKEN, TIMEOUT = Canary(Completion(" I", 1, 0.1), None, 200), Canary(None, "timeout")


class Host:
    """A host of a pair whose container runs, and what it sees."""

    def __init__(self, folder: Path, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rank, self.is_linked, self.start, self.canary = rank, True, "10:00", TOKEN
        self.restarts, self.tokens, self.port, self.head = 0, 0, 40000, OPEN
        self.service = Service(folder / "vllm", "vllm")
        release = self.service.home / "releases" / ONE
        release.mkdir(parents=True)
        facts = {"url": "http://127.0.0.1:8000", "model": "m", "nodes": [HEAD, WORKER], "rank": rank}
        (release / "release.json").write_text(json.dumps({**facts, "master_port": PORT}))
        self.service.current.symlink_to(f"releases/{ONE}")
        monkeypatch.setattr(watchdog, "run", self.run)
        monkeypatch.setattr(guard, "run", self.run)
        monkeypatch.setattr(watchdog, "read_connections", self.connections)
        monkeypatch.setattr(watchdog, "reach", lambda _address, _port: self.head)
        monkeypatch.setattr(watchdog, "holds_port", lambda _containers, _url: True)
        monkeypatch.setattr(watchdog, "look", self.look)

    def run(self, *command: str) -> tuple[int, str, str]:
        self.restarts += command[:3] == ("systemctl", "--no-block", "try-restart")
        return 0, f"aa {ONE} {self.service.home}/cache\n" if "ps" in command else f"{self.start}\n", ""

    def connections(self) -> list[Connection]:
        ends = (HEAD, PORT, WORKER, self.port) if self.rank == 0 else (WORKER, self.port, HEAD, PORT)
        return [Connection(*ends, "01", "1")] if self.is_linked else []

    def look(self, *_asked: Any) -> tuple[Canary, None]:
        self.tokens += 1
        return self.canary, None

    def watch(self, *moments: float, is_on: bool = True) -> None:
        for now in moments:
            watchdog.watch(self.service, now, "boot", is_on)

    def verdict(self) -> str:
        return str(guard.read_json(self.service.look)["verdict"])


@pytest.fixture(params=[0, 1], ids=["head", "worker"])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, request.param, monkeypatch)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, 1, monkeypatch)


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, 0, monkeypatch)


def test_who_has_lost_the_other_is_restarted(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.watch(0)
    host.is_linked, host.canary = False, TIMEOUT
    host.watch(15)
    assert host.restarts == 1
    assert "<3>peer lost: no connection " in capsys.readouterr().out
    assert host.verdict() == "silent"


def test_who_has_yet_to_meet_the_other_is_left_alone(host: Host) -> None:
    host.is_linked, host.canary = False, Canary(None, "refused")
    host.service.count({"time": 1, "boot": "boot"})
    host.watch(0, 15, 30)
    assert (host.restarts, host.verdict()) == (0, "loads")


def test_a_container_that_is_started_again_has_yet_to_meet_the_other(worker: Host) -> None:
    worker.watch(0)
    worker.start, worker.is_linked = "10:01", False
    worker.watch(15)
    assert (worker.restarts, worker.verdict()) == (0, "loads")


def test_a_head_cannot_use_the_connection_of_a_worker_that_was_started_again(head: Host) -> None:
    head.watch(0)
    head.port, head.canary = 50000, TIMEOUT
    head.watch(15)
    assert head.restarts == 1


@pytest.mark.parametrize("how", ["linked before", "never seen"])
def test_who_forgets_its_limits_still_knows_its_peers(how: str, worker: Host) -> None:
    """Guard's forget runs while a group serves: a head that is killed before the next look is lost all the same."""
    if how == "linked before":
        worker.watch(0)
        guard.forget(worker.service)
    worker.is_linked = False
    worker.watch(15)
    assert worker.restarts == (how == "linked before")


def test_a_worker_left_by_a_head_that_listens_is_restarted(worker: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """No look saw it connected to the head that was killed: it waits for ever, and the new head waits for it."""
    worker.is_linked = False
    worker.watch(0, 285)
    assert (worker.restarts, worker.verdict()) == (0, "loads")
    worker.watch(300)
    assert (worker.restarts, worker.verdict()) == (1, "silent")
    assert f"<3>peer lost: no connection to the head {HEAD}, which listens" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "restarts"), [(75, 0), (90, 1)])
def test_a_worker_that_was_cut_off_for_long_is_restarted(seconds: int, restarts: int, worker: Host) -> None:
    """The head was restarted meanwhile, and no packet told this side: its connection looks as before."""
    worker.watch(0)
    worker.head = SILENT
    worker.watch(15, 30, 15 + seconds)
    assert (worker.restarts, worker.verdict()) == (0, "answers")
    worker.head = OPEN
    worker.watch(16 + seconds)
    assert worker.restarts == restarts
    worker.head = SILENT
    worker.watch(200)
    worker.head = CLOSED
    worker.watch(600)
    assert worker.restarts == restarts  # each time by itself; and one look is no cut, however late the next one is


@pytest.mark.parametrize("answer", [CLOSED, SILENT])
def test_a_worker_waits_for_a_head_that_is_yet_to_start(answer: str, worker: Host) -> None:
    worker.is_linked, worker.head = False, answer
    worker.watch(0, 300, 3000)
    assert (worker.restarts, worker.verdict()) == (0, "loads")


def test_a_token_proves_that_nothing_is_lost(head: Host) -> None:
    head.watch(0)
    head.is_linked = False
    head.watch(15, 30)
    assert (head.restarts, head.verdict()) == (0, "answers")


def test_the_head_asks_for_a_token_once_a_minute(head: Host) -> None:
    head.watch(*range(0, 240, 15))
    assert head.tokens == 4


def test_a_frozen_engine_is_restarted_as_that_of_a_single_host(head: Host) -> None:
    head.canary = TIMEOUT
    head.watch(0, 60, 120)
    assert head.restarts == 1


def test_nobody_is_restarted_with_the_watchdog_off(host: Host) -> None:
    host.watch(0, is_on=False)
    host.is_linked, host.canary = False, TIMEOUT
    host.watch(15, 30, is_on=False)
    assert host.restarts == 0


def test_a_worker_answers_once_it_was_connected_for_long(worker: Host) -> None:
    worker.service.count({"time": 1, "boot": "boot"})
    worker.watch(0, 300)
    assert worker.service.is_unanswered()
    worker.watch(600)
    assert not worker.service.is_unanswered()


# --- before the start -------------------------------------------------------------------------------------------

PEERS = Peers((HEAD, WORKER), 1, PORT)


def test_a_start_waits_for_the_other_host(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([SILENT, SILENT, CLOSED])
    assert guard.wait_for_peers(PEERS, 60, False, lambda *_asked: next(answers), 0) == ""
    assert capsys.readouterr().out == f"<5>waiting for {HEAD}, which does not answer\n"


def test_a_start_waits_no_longer_than_that() -> None:
    problem = guard.wait_for_peers(PEERS, 0, False, lambda *_asked: SILENT, 0)
    cause = refusal(f"not started: {problem}")
    assert cause is not None
    assert cause.id == "peer_silent"
    assert HEAD in cause.meaning


@pytest.mark.parametrize(("is_stale", "looks"), [(True, 4), (False, 1)])
def test_a_worker_lets_a_head_end_that_waits_for_nobody(is_stale: bool, looks: int) -> None:
    answers = [OPEN, OPEN, OPEN, CLOSED]
    assert guard.wait_for_peers(PEERS, 60, is_stale, lambda *_asked: answers.pop(0), 0) == ""
    assert 4 - len(answers) == looks


def test_whether_a_head_may_be_stale(worker: Host) -> None:
    """It is not, if the connection was gone before this rank was ended."""
    assert guard.had_link(worker.service, "boot")  # nobody knows
    worker.watch(0)
    assert guard.had_link(worker.service, "boot")
    worker.is_linked = False
    worker.watch(15)
    assert not guard.had_link(worker.service, "boot")
    assert guard.had_link(worker.service, "another boot")
