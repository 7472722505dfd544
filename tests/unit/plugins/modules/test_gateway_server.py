# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server is taken out of a real HAProxy and put back, while a request is in progress."""

from __future__ import annotations

import concurrent.futures
import json
import re
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import haproxy
from ansible_collections.dgxspark.vllm.plugins.modules import gateway_server

from support.haproxy import Answer, Engine, Gateway, read_answer
from support.waiting import wait_until

MODEL, KEY = "Qwen/Qwen3-8B-FP8", "ada-0123456789abcdef"


@pytest.fixture(scope="module")
def engines() -> t.Iterator[list[Engine]]:
    found = [Engine(MODEL, "spark01"), Engine(MODEL, "spark02")]
    yield found
    for engine in found:
        engine.stop()


@pytest.fixture(scope="module")
def gateway(engines: list[Engine], tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Gateway]:
    limits = {"gateway_hold_requests": 4, "gateway_hold_seconds": 20}
    with Gateway(tmp_path_factory.mktemp("gateway"), engines, [{"name": "ada", "key": KEY}], **limits) as found:
        yield found


class Module:
    """Stands in for AnsibleModule: parameters, and a failure."""

    def __init__(self, check_mode: bool = False, **params: t.Any) -> None:
        self.params = {"timeout": 0, "hold": False, **params}
        self.check_mode = check_mode

    def fail_json(self, msg: str) -> t.NoReturn:
        raise AssertionError(msg)


@pytest.fixture
def run(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    monkeypatch.setattr(gateway_server, "SOCKET", gateway.socket)
    monkeypatch.setattr(gateway_server, "MASTER", gateway.master)
    monkeypatch.setattr(gateway_server, "FOLDER", str(gateway.folder))
    monkeypatch.setattr(gateway_server, "PAUSE", 0.02)
    return lambda **params: gateway_server.run(t.cast(t.Any, Module(**params)))


def chat(gateway: Gateway, text: str, **more: t.Any) -> Answer:
    body = json.dumps({"messages": [{"role": "user", "content": text}], "model": MODEL, **more}).encode()
    with gateway.open() as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return read_answer(connection)


def ten_in_progress(
    pool: concurrent.futures.Executor, gateway: Gateway, engines: list[Engine]
) -> list[concurrent.futures.Future[Answer]]:
    """Requests that end when their engine's GO is set."""
    for engine in engines:
        engine.go.clear()
    held = [pool.submit(chat, gateway, f"number {number}") for number in range(10)]
    wait_until(lambda: sum(engine.in_progress for engine in engines) == 10, "all are in progress", pause=0.02)
    return held


def test_a_drained_server_ends_its_requests_and_gets_no_new_ones(
    run: t.Callable[..., dict[str, t.Any]], gateway: Gateway, engines: list[Engine]
) -> None:
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        held = ten_in_progress(pool, gateway, engines)
        mine = engines[0].in_progress
        assert mine > 0
        check = run(server="spark01", state="drained", check_mode=True)
        assert (check["changed"], gateway.servers()["spark01"]) == (True, "UP")
        late = run(server="spark01", state="drained")
        expected = {"changed": True, "found": True, "missing": False, "reached": False, "sessions": mine}
        expected |= {"alone": False, "held": False}
        assert late == expected
        waiting = pool.submit(run, server="spark01", state="drained", timeout=30)
        engines[0].go.set()
        assert waiting.result() == {**expected, "changed": False, "reached": True, "sessions": 0}
        engines[1].go.set()
        assert {each.result().status for each in held} == {200}
    assert {chat(gateway, f"later {number}").json["unit"] for number in range(10)} == {"spark02"}
    assert run(server="spark02", state="drained")["alone"]
    assert chat(gateway, "nobody").status == 503
    for name in ("spark01", "spark02"):
        assert run(server=name, state="ready", timeout=30)["reached"]
    assert not run(server="spark01", state="ready")["changed"]
    assert {chat(gateway, f"again {number}").json["unit"] for number in range(20)} == {"spark01", "spark02"}


@pytest.fixture
def alone(run: t.Callable[..., dict[str, t.Any]]) -> t.Iterator[t.Callable[..., dict[str, t.Any]]]:
    """Only spark01 is up."""
    run(server="spark02", state="drained")
    yield run
    for name in ("spark01", "spark02"):
        assert run(server=name, state="ready", timeout=30)["reached"]


def waiting_requests(gateway: Gateway) -> int:
    found = re.search(r"conn_cur=(\d+)", gateway.ask("show table holds"))
    return int(found[1]) if found else 0


def test_requests_wait_for_the_only_server_and_streams_in_progress_end_before(
    alone: t.Callable[..., dict[str, t.Any]], gateway: Gateway, engines: list[Engine]
) -> None:
    engines[0].go.clear()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        before = pool.submit(chat, gateway, "before", stream=True)
        wait_until(lambda: engines[0].in_progress == 1, "it is in progress", 20, 0.02)
        asked = len(engines[0].asked)
        told = alone(server="spark01", state="drained", hold=True)
        assert (told["alone"], told["held"], told["sessions"]) == (True, True, 1)
        held = [pool.submit(chat, gateway, f"held {number}", stream=number % 2 == 0) for number in range(4)]
        wait_until(lambda: waiting_requests(gateway) == 4, "four wait", 20, 0.02)
        assert chat(gateway, "one too many").status == 503
        engines[0].go.set()
        assert before.result().body.count(b'"unit":"spark01"') == 3
        # again, as a recovery does: those that wait go on doing so
        assert alone(server="spark01", state="drained", hold=True, timeout=30)["reached"]
        engines[0].model = "not yet"
        wait_until(lambda: not next(s for s in gateway_server.look() if s.name == "spark01").is_up, "it is down", 20)
        waiting = pool.submit(alone, server="spark01", state="ready", timeout=30)
        wait_until(lambda: gateway.servers()["spark01"] == "DOWN", "it may come back", 20, 0.05)
        assert (waiting_requests(gateway), len(engines[0].asked)) == (4, asked)
        engines[0].model = MODEL
        assert waiting.result()["reached"]
        assert [each.result().status for each in held] == [200] * 4
    assert len(engines[0].asked) == asked + 4
    wait_until(lambda: waiting_requests(gateway) == 0, "none waits", 20, 0.02)
    assert "spark" not in gateway.ask(f"show map {gateway_server.held_map()}")


def test_who_waits_is_refused_when_nothing_comes_back(
    engines: list[Engine],
    run: t.Callable[..., dict[str, t.Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    keys, limits = [{"name": "ada", "key": KEY}], {"gateway_hold_requests": 4, "gateway_hold_seconds": 8}
    with Gateway(tmp_path, engines, keys, **limits) as gateway, concurrent.futures.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(gateway_server, "SOCKET", gateway.socket)
        monkeypatch.setattr(gateway_server, "MASTER", gateway.master)
        monkeypatch.setattr(gateway_server, "FOLDER", str(tmp_path))
        run(server="spark02", state="drained")
        run(server="spark01", state="drained", hold=True)
        engines[0].model = "another"
        wait_until(lambda: not next(s for s in gateway_server.look() if s.name == "spark01").is_up, "it is down", 20)
        assert not run(server="spark01", state="drained", hold=True)["alone"]  # it was nobody's server already
        held = pool.submit(chat, gateway, "held")
        wait_until(lambda: waiting_requests(gateway) == 1, "it waits", 20, 0.02)
        run(server="spark01", state="ready")
        assert held.result().status == 503
        # nor longer than the limit says
        backend = gateway_server.look()[0].backend
        assert gateway_server.hold({backend}, int(time.time()) - 9)
        assert chat(gateway, "late").status == 503
        engines[0].model = MODEL


def test_who_hangs_up_while_waiting_gives_the_place_free(
    alone: t.Callable[..., dict[str, t.Any]], gateway: Gateway
) -> None:
    alone(server="spark01", state="drained", hold=True)
    body = json.dumps({"prompt": "x", "model": MODEL}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}"
    with gateway.open() as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        wait_until(lambda: waiting_requests(gateway) == 1, "it waits", 20, 0.02)
    wait_until(lambda: waiting_requests(gateway) == 0, "its place is free", 10, 0.02)


def test_what_waited_is_no_flood(
    engines: list[Engine],
    run: t.Callable[..., dict[str, t.Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    limits = {"gateway_concurrent": 1000, "gateway_hold_requests": 1000}
    with (
        Gateway(tmp_path, engines[:1], [{"name": "ada", "key": KEY}], **limits) as gateway,
        concurrent.futures.ThreadPoolExecutor(150) as pool,
    ):
        monkeypatch.setattr(gateway_server, "SOCKET", gateway.socket)
        monkeypatch.setattr(gateway_server, "FOLDER", str(tmp_path))
        run(server="spark01", state="drained", hold=True)
        held = [pool.submit(chat, gateway, f"held {number}") for number in range(150)]
        wait_until(lambda: waiting_requests(gateway) == 150, "all wait", 20, 0.05)
        engines[0].go.clear()
        assert run(server="spark01", state="ready", timeout=30)["reached"]
        wait_until(lambda: engines[0].in_progress >= 100, "the first are in progress", 20, 0.02)
        time.sleep(0.5)  # five times what a waiting one sleeps: the others could have come by now
        assert engines[0].in_progress < 120
        engines[0].go.set()
        assert {each.result().status for each in held} == {200}


def test_a_reload_while_requests_wait_loses_none(
    alone: t.Callable[..., dict[str, t.Any]], gateway: Gateway, engines: list[Engine]
) -> None:
    """Those that wait are in a process that ends, which looks at no server any more."""
    asked = len(engines[0].asked)
    assert alone(server="spark01", state="drained", hold=True)["held"]
    engines[0].model = "not yet"
    wait_until(lambda: not next(s for s in gateway_server.look() if s.name == "spark01").is_up, "it is down", 20)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        before = [pool.submit(chat, gateway, f"before {number}", stream=number == 0) for number in range(2)]
        wait_until(lambda: waiting_requests(gateway) == 2, "two wait", 20, 0.02)
        gateway.reload()
        after = [pool.submit(chat, gateway, f"after {number}", stream=number == 0) for number in range(2)]
        wait_until(lambda: waiting_requests(gateway) == 2, "two wait in the new process", 20, 0.02)
        assert len(engines[0].asked) == asked
        engines[0].model = MODEL
        assert alone(server="spark01", state="ready", timeout=30)["reached"]
        assert [each.result().status for each in (*before, *after)] == [200] * 4
    for name in ("held.map", "drained.map"):
        assert "spark01" not in (gateway.folder / name).read_text()
        assert (gateway.folder / name).stat().st_mode & 0o777 == 0o600


def test_a_drained_server_stays_so_after_a_reload_and_its_requests_from_before_are_counted(
    run: t.Callable[..., dict[str, t.Any]], gateway: Gateway, engines: list[Engine]
) -> None:
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        held = ten_in_progress(pool, gateway, engines)
        mine = engines[0].in_progress
        gateway.reload()
        late = run(server="spark01", state="drained")
        assert (late["reached"], late["sessions"]) == (False, mine)
        gateway.reload()
        assert next(s for s in gateway_server.look() if s.name == "spark01").is_drained
        for engine in engines:
            engine.go.set()
        assert {each.result().status for each in held} == {200}
        assert run(server="spark01", state="drained", timeout=30)["reached"]
    assert {chat(gateway, f"later {number}").json["unit"] for number in range(10)} == {"spark02"}
    assert run(server="spark01", state="ready", timeout=30)["reached"]
    gateway.reload()
    assert not any(server.is_out for server in gateway_server.look())


def test_a_drain_that_is_taken_back_meanwhile_is_told_again(
    run: t.Callable[..., dict[str, t.Any]], gateway: Gateway, engines: list[Engine]
) -> None:
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        held = ten_in_progress(pool, gateway, engines)
        waiting = pool.submit(run, server="spark01", state="drained", timeout=30)
        wait_until(lambda: gateway.servers()["spark01"] != "UP", "it is drained", pause=0.02)
        backend = next(server.backend for server in gateway_server.look() if server.name == "spark01")
        gateway_server.ask(f"set server {backend}/spark01 state ready")
        wait_until(lambda: gateway.servers()["spark01"] != "UP", "it is drained again", pause=0.02)
        for engine in engines:
            engine.go.set()
        assert waiting.result()["reached"]
        assert {each.result().status for each in held} == {200}
    assert run(server="spark01", state="ready", timeout=30)["reached"]


def test_maintenance_by_an_operator_stays(run: t.Callable[..., dict[str, t.Any]], gateway: Gateway) -> None:
    backend = next(server.backend for server in gateway_server.look() if server.name == "spark01")
    gateway_server.ask(f"set server {backend}/spark01 state maint")
    for state in ("drained", "ready"):
        assert not run(server="spark01", state=state)["changed"]
        (server,) = (server for server in gateway_server.look() if server.name == "spark01")
        assert (server.is_out, server.is_drained) == (True, False)
    gateway_server.ask(f"set server {backend}/spark01 state ready")
    assert run(server="spark01", state="ready", timeout=30)["reached"]


def test_ready_waits_for_the_health_checks(
    run: t.Callable[..., dict[str, t.Any]], gateway: Gateway, engines: list[Engine]
) -> None:
    run(server="spark01", state="drained")
    engines[0].model = "another"
    wait_until(
        lambda: not next(s for s in gateway_server.look() if s.name == "spark01").is_up, "it is down", pause=0.05
    )
    assert not run(server="spark01", state="ready")["reached"]
    engines[0].model = MODEL
    assert run(server="spark01", state="ready", timeout=30)["reached"]


def test_without_a_gateway_or_of_an_unknown_server_nothing_is_done(
    run: t.Callable[..., dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not run(server="spark09", state="drained")["found"]
    monkeypatch.setattr(gateway_server, "SOCKET", str(tmp_path / "none"))
    nothing = {"changed": False, "found": False, "missing": False, "reached": True, "sessions": 0, "alone": False}
    assert run(server="spark01", state="drained") == {**nothing, "held": False}


def test_processes_from_before_a_reload_are_found_in_what_the_master_says() -> None:
    now = "#<PID>   <type>   <reloads>   <uptime>   <version>  \n1162   master   5   0d00h02m07s   2.6.12\n# workers\n"
    now += "1271   worker   0   0d00h00m00s   2.6.12\n"
    old = "# old workers\n1233   worker   3   0d00h00m43s   2.6.12\n1244   worker   1   0d00h00m43s   2.6.12\n"
    assert haproxy.old_workers(f"{now}{old}# programs\n\n") == [1233, 1244]
    assert haproxy.old_workers(f"{now}\n") == []
    assert haproxy.with_old([], ["Can't find the target PID matching the prefix '@!1233'\n"]) == []
    before = "0x55: proto=tcpv4 src=127.0.0.1:4 fe=gateway be=1-m srv=spark01 ts=00 age=1s calls=2\n"
    server = haproxy.Server("1-m", "spark01", is_up=True, is_drained=False, is_out=False, sessions=2)
    assert haproxy.with_old([server], [before * 2, before])[0].sessions == 5


def test_the_entries_of_a_map_are_lines_of_its_file() -> None:
    assert haproxy.entries("0x55b8 1-m 1764460800\n0x55b9 2-m 1764460801\n\n") == ["1-m 1764460800", "2-m 1764460801"]
    assert haproxy.entries("Unknown map identifier. Please use #<id> or <file>.\n") == []  # gateway_hold_seconds: 0


@pytest.mark.parametrize("text", ["2\n# be_name\n", "", "1\n# be_name srv_name\nx y\n"])
def test_another_form_of_the_state_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="state"):
        haproxy.parse(text, "")


@pytest.mark.parametrize(
    ("mine", "other", "ends"),
    [
        ({"is_up": True}, {"is_drained": True, "is_out": True}, True),  # one that is up is enough
        ({}, {"is_drained": True, "is_out": True}, False),  # the other one may come back
        ({}, {}, True),
        ({}, {"is_up": True}, True),
    ],
)
def test_when_nobody_waits_any_more(mine: dict[str, bool], other: dict[str, bool], ends: bool) -> None:
    down = {"is_up": False, "is_drained": False, "is_out": False}
    servers = [
        haproxy.Server(backend="m", name=name, sessions=0, **{**down, **more})
        for name, more in (("spark01", mine), ("spark02", other))
    ]
    assert haproxy.ends_hold("spark01", "m", servers) == ends


def test_a_server_that_the_gateway_does_not_have(run: t.Callable[..., dict[str, t.Any]]) -> None:
    result = run(server="spark01-vllm", state="drained")
    assert (result["found"], result["missing"]) == (False, True)
    assert run(server="spark01", state="ready")["missing"] is False
