# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the role gateway in the real HAProxy, in front of small engines."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan import gateway as plan
from ansible_collections.dgxspark.vllm.roles.vllm.files import dgxspark_require_key

from support import unwanted
from support.haproxy import ENGINE_KEY, Answer, Engine, Gateway, read_answer
from support.waiting import wait_until

A, B = "Qwen/Qwen3-8B-FP8", "mistralai/Small.24B"
KEY, OTHER = "ada-0123456789abcdef", "bob-0123456789abcdef"
KEYS: list[dict[str, t.Any]] = [
    {"name": "ada", "key": KEY, "requests_per_minute": 100000, "concurrent": 1000},
    {"name": "bob", "key": OTHER, "requests_per_minute": 5, "body_bytes": 5000},
    {"name": "eve", "key": "eve-0123456789abcdef", "concurrent": 2},
]


@pytest.fixture(scope="module")
def engines() -> t.Iterator[list[Engine]]:
    found = [Engine(A, "spark01"), Engine(A, "spark02"), Engine(B, "spark03")]
    yield found
    for engine in found:
        engine.stop()


@pytest.fixture(scope="module")
def gateway(engines: list[Engine], tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Gateway]:
    # Seconds that a busy machine needs for four megabytes.
    with Gateway(tmp_path_factory.mktemp("gateway"), engines, KEYS, body_seconds=3) as found:
        yield found


def head(path: str, key: str | None, length: int, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gw", f"Content-Length: {length}", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, "", ""]).encode()


def post(
    gateway: Gateway, content: t.Any, key: str | None = KEY, path: str = "/v1/chat/completions", method: str = "POST"
) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with gateway.open() as connection:
        connection.sendall(head(path, key, len(body), method) + body)
        return read_answer(connection)


def get(gateway: Gateway, path: str, key: str | None = KEY) -> Answer:
    return post(gateway, b"", key, path, "GET")


def chat(model: str, text: str = "Hello", **more: t.Any) -> dict[str, t.Any]:
    return {"messages": [{"role": "user", "content": text}], "model": model, **more}


def test_a_request_goes_to_a_unit_of_its_model_with_the_key_of_the_unit(
    gateway: Gateway, engines: list[Engine]
) -> None:
    for model, names in ((A, {"spark01", "spark02"}), (B, {"spark03"})):
        found = {post(gateway, chat(model, f"number {number}")).json["unit"] for number in range(20)}
        assert found == names
    for engine in engines:
        assert {headers["authorization"] for _path, headers, _body in engine.asked} == {f"Bearer {ENGINE_KEY}"}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"prompt": "x" * 300_000, "model": B}).encode(),
        json.dumps(chat(B)).replace("/", "\\/").encode(),
        json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "model": A}]}], "model": B}).encode(),
        json.dumps({"metadata": {"model": A}, "prompt": '"model": "x"', "model": B}).encode(),
    ],
    ids=["last of 300 KB", "escaped slash", "another one in a part", "another one in metadata"],
)
def test_the_model_is_found_wherever_it_is(gateway: Gateway, engines: list[Engine], body: bytes) -> None:
    answer = post(gateway, body)
    assert (answer.status, answer.json["unit"]) == (200, "spark03")
    assert engines[2].asked[-1][2] == body


@pytest.mark.parametrize(("length", "status"), [(4194304, 200), (4194305, 413)])
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_the_model_may_come_last_in_the_largest_body(
    gateway: Gateway, engines: list[Engine], length: int, status: int, slash: str
) -> None:
    begin, end = b'{"prompt":"', f'","model":"{B.replace("/", slash)}"}}'.encode()
    body = begin + b"x" * (length - len(begin) - len(end)) + end
    before = len(engines[2].asked)
    with gateway.open() as connection:
        assert unwanted.asked(connection, head("/v1/completions", KEY, length) + body).status == status
    assert [text for *_, text in engines[2].asked[before:]] == ([body] if status == 200 else [])


def test_a_conversation_stays_with_its_unit(gateway: Gateway) -> None:
    for number in range(6):
        begin: list[dict[str, str]] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"{number}"},
        ]
        units = set()
        for turn in range(4):
            more = [{"role": "user", "content": f"turn {turn}"}] * turn
            wait_until(lambda: gateway.in_progress() == 0, "the answer before no longer counts as load", pause=0.02)
            units.add(post(gateway, {"model": A, "messages": begin + more}).json["unit"])
        assert len(units) == 1


def test_one_prefix_is_shared_by_load(gateway: Gateway, engines: list[Engine]) -> None:
    """All begin alike, so one unit would get all of them."""
    for engine in engines:
        engine.go.clear()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(post, gateway, chat(A)) for _each in range(20)]
        wait_until(lambda: sum(engine.in_progress for engine in engines) == 20, "all are in progress", pause=0.02)
        counts = [engine.in_progress for engine in engines]
        for engine in engines:
            engine.go.set()
        assert {each.result().status for each in answers} == {200}
    assert min(counts[:2]) >= 7, counts


def test_the_list_of_models_is_that_of_the_fleet(gateway: Gateway) -> None:
    answer = get(gateway, "/v1/models")
    assert [(entry["id"], entry["object"]) for entry in answer.json["data"]] == [(A, "model"), (B, "model")]
    assert answer.headers["content-type"] == "application/json"


def test_what_is_open_is_what_the_units_have_open(gateway: Gateway) -> None:
    assert set(plan.OPEN) == dgxspark_require_key.OPEN_PATHS
    assert get(gateway, "/health", None).status == 200


REFUSED: dict[str, tuple[t.Callable[[Gateway], Answer], int]] = {
    "no key": (lambda gateway: post(gateway, chat(A), None), 401),
    "wrong key": (lambda gateway: post(gateway, chat(A), KEY + "x"), 401),
    "the key of the unit": (lambda gateway: post(gateway, chat(A), ENGINE_KEY), 401),
    "models without a key": (lambda gateway: get(gateway, "/v1/models", None), 401),
    "a path that changes the server": (lambda gateway: post(gateway, {}, path="/v1/load_lora_adapter"), 404),
    "metrics": (lambda gateway: get(gateway, "/metrics"), 404),
    "another form of a path": (lambda gateway: post(gateway, chat(A), path="/v1//chat/completions"), 404),
    "up and down": (lambda gateway: post(gateway, chat(A), path="/v1/chat/completions/../../metrics"), 404),
    "encoded": (lambda gateway: post(gateway, chat(A), path="/v1/chat%2fcompletions"), 404),
    "wrong method": (lambda gateway: get(gateway, "/v1/chat/completions"), 405),
    "method of models": (lambda gateway: post(gateway, chat(A), path="/v1/models"), 405),
    "unknown model": (lambda gateway: post(gateway, chat("somebody/else")), 404),
    "no model": (lambda gateway: post(gateway, {"prompt": "x"}), 400),
    "a model that is no text": (lambda gateway: post(gateway, {"model": [A]}), 400),
    "no JSON": (lambda gateway: post(gateway, b"\x00\x01{"), 400),
    "nothing": (lambda gateway: post(gateway, b""), 400),
    "too large for the key": (lambda gateway: post(gateway, chat(A, "x" * 6000), OTHER), 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_reaches_no_unit_and_has_its_status(gateway: Gateway, engines: list[Engine], name: str) -> None:
    request, status = REFUSED[name]
    before = [len(engine.asked) for engine in engines]
    answer = request(gateway)
    assert (answer.status, answer.json["error"]["code"]) == (status, status)
    assert [len(engine.asked) for engine in engines] == before


BROKEN = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "a header without a colon": (b"POST /v1/completions HTTP/1.1\r\nHost: gw\r\nnonsense\r\n\r\n", 400),
    "two lengths": (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    "a length that is none": (b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: -1\r\n\r\n", 400),
    "a zero in a header": (b"GET /v1/models HTTP/1.1\r\nHost: gw\r\nX: a\x00b\r\n\r\n", 400),
    "headers without an end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200, 400),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_http_is_refused(gateway: Gateway, engines: list[Engine], name: str) -> None:
    text, status = BROKEN[name]
    before = [len(engine.asked) for engine in engines]
    with gateway.open() as connection:
        connection.sendall(text)
        assert read_answer(connection).status == status
    assert [len(engine.asked) for engine in engines] == before


def test_a_chunked_body_is_limited_too(gateway: Gateway, engines: list[Engine]) -> None:
    chunked = head("/v1/completions", OTHER, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    for size, status in ((6000, 413), (2000, 200)):
        body = json.dumps({"prompt": "x" * size, "model": B}).encode()
        with gateway.open() as connection:
            connection.sendall(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            assert read_answer(connection).status == status


def test_a_body_that_does_not_arrive_is_not_waited_for(gateway: Gateway, engines: list[Engine]) -> None:
    before = [len(engine.asked) for engine in engines]
    with gateway.open() as connection:
        connection.sendall(head("/v1/completions", KEY, 100) + b'{"model":')
        answer = read_answer(connection)
    assert (answer.status, answer.json["error"]["type"]) == (408, "timeout_error")
    assert [len(engine.asked) for engine in engines] == before


def test_requests_in_progress_are_limited(gateway: Gateway, engines: list[Engine]) -> None:
    key = KEYS[2]["key"]
    engines[2].go.clear()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        held = [pool.submit(post, gateway, chat(B), key) for _each in range(2)]
        wait_until(lambda: engines[2].in_progress == 2, "two are in progress", pause=0.02)
        answer = post(gateway, chat(B), key)
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        assert get(gateway, "/v1/models").status == 200  # another key
        engines[2].go.set()
        assert [each.result().status for each in held] == [200, 200]
    assert post(gateway, chat(B), key).status == 200


def test_requests_per_minute_are_limited_and_what_is_refused_does_not_count(
    engines: list[Engine], tmp_path: Path
) -> None:
    with Gateway(tmp_path, engines, KEYS) as gateway:
        assert [post(gateway, chat(B), OTHER, path="/nowhere").status for _each in range(8)] == [404] * 8
        statuses = [post(gateway, chat(B), OTHER).status for _each in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert post(gateway, chat(B)).status == 200


def test_an_event_arrives_when_it_is_sent(gateway: Gateway, engines: list[Engine]) -> None:
    engines[2].go.clear()
    body = json.dumps(chat(B, stream=True)).encode()
    with gateway.open() as connection:
        connection.sendall(head("/v1/chat/completions", KEY, len(body)) + body)
        received = b""
        while b'"number":0' not in received:
            received += connection.recv(4096)
        assert b'"number":1' not in received
        engines[2].go.set()
        while b'"number":2' not in received:
            received += connection.recv(4096)


def test_a_revoked_key_is_out_after_a_reload_that_ends_no_request(engines: list[Engine], tmp_path: Path) -> None:
    with Gateway(tmp_path, engines, KEYS) as gateway, gateway.open() as idle:
        idle.sendall(head("/v1/models", OTHER, 0, "GET"))
        assert read_answer(idle).status == 200
        engines[2].go.clear()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(post, gateway, chat(B), OTHER)
            wait_until(lambda: engines[2].in_progress == 1, "it is in progress", pause=0.02)
            gateway.write([key for key in KEYS if key["key"] != OTHER])
            gateway.reload()
            assert post(gateway, chat(B), OTHER).status == 401
            engines[2].go.set()
            assert running.result().status == 200
        idle.sendall(head("/v1/models", OTHER, 0, "GET"))
        assert read_answer(idle).status == 0  # the connection is closed


def test_a_unit_that_dies_costs_nobody_else_a_request(tmp_path: Path) -> None:
    """Nothing is in progress there, so the other one has more than its share: what it has refused is sent on."""
    busy, dead = Engine(A, "busy"), Engine(A, "dead")
    with Gateway(tmp_path, [busy, dead], KEYS) as gateway, concurrent.futures.ThreadPoolExecutor(40) as pool:
        for engine in (busy, dead):
            engine.go.clear()
        held = [pool.submit(post, gateway, chat(A, f"held {number}")) for number in range(16)]
        wait_until(lambda: busy.in_progress + dead.in_progress == 16, "all arrived", pause=0.02)
        assert busy.in_progress >= 4
        dead.go.set()
        wait_until(lambda: sum(each.done() for each in held) == 16 - busy.in_progress, "it has none", pause=0.02)
        dead.stop()
        more = [pool.submit(post, gateway, chat(A, f"more {number}")) for number in range(20)]
        wait_until(lambda: busy.in_progress + sum(each.done() for each in held + more) == 36, "all arrived", pause=0.02)
        busy.go.set()
        assert {each.result().status for each in more} == {200}
    busy.stop()


def test_a_frozen_unit_is_taken_out_and_what_it_has_taken_ends_with_504(engines: list[Engine], tmp_path: Path) -> None:
    """It takes connections, and never answers."""
    frozen = Engine(B, "frozen")
    with Gateway(tmp_path, [engines[0], frozen], KEYS, check_seconds=1, gateway_timeout=3) as gateway:
        frozen.freeze()
        begin = time.monotonic()
        answer = post(gateway, chat(B))
        assert (answer.status, answer.json["error"]["type"]) == (504, "server_error")
        assert time.monotonic() - begin > 2.5
        wait_until(lambda: gateway.servers()["frozen"] == "DOWN", "HAProxy has seen it", timeout=60, pause=0.1)
        assert post(gateway, chat(B)).status == 503
        assert post(gateway, chat(A)).status == 200
    frozen.stop()


def test_statistics_are_on_loopback_wherever_the_gateway_listens(engines: list[Engine], tmp_path: Path) -> None:
    with Gateway(tmp_path, engines, KEYS, gateway_address="0.0.0.0") as gateway:
        port = gateway.variables["gateway_stats_port"]
        for path in ("/stats", "/metrics"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
                assert read_answer(connection).status == 200
        with socket.create_connection(("127.0.0.2", gateway.port)):  # loopback has more addresses than one
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))


def test_a_unit_that_is_gone_gets_nothing_and_a_model_without_units_is_said(
    engines: list[Engine], tmp_path: Path
) -> None:
    gone = Engine(B, "gone")
    with Gateway(tmp_path, [*engines[:1], gone], KEYS) as gateway:
        gone.stop()
        wait_until(lambda: gateway.servers()["gone"] == "DOWN", "HAProxy has seen it", pause=0.05)
        answer = post(gateway, chat(B))
        assert (answer.status, answer.headers["retry-after"]) == (503, "30")
        assert get(gateway, "/health", None).status == 200  # of the other model


def test_a_model_that_waits_for_its_turn_is_known_and_refused_at_once(tmp_path: Path) -> None:
    serves, waits = Engine(A, "one"), Engine(B, "two")
    serves.swap_group = waits.swap_group = "big"
    with Gateway(tmp_path, [serves, waits], KEYS) as gateway:
        waits.stop()
        wait_until(lambda: gateway.servers()["two"] == "DOWN", "HAProxy has seen it", pause=0.05)
        answer = post(gateway, chat(B))
        assert (answer.status, answer.headers["retry-after"]) == (503, "30")
        said = f"No server of this model is ready. It takes turns with {A}, and may not be loaded now"
        assert answer.json["error"]["message"] == said
        assert post(gateway, chat(A)).status == 200
        assert {model["id"] for model in get(gateway, "/v1/models").json["data"]} == {A, B}
    serves.stop()


def test_a_unit_that_serves_another_model_gets_nothing(tmp_path: Path) -> None:
    engine = Engine(A, "spark01")
    with Gateway(tmp_path, [engine], KEYS) as gateway:
        engine.model = A + "-other"
        wait_until(lambda: gateway.servers()["spark01"] == "DOWN", "HAProxy has seen it", pause=0.05)
        assert get(gateway, "/health", None).status == 503
    engine.stop()


def test_the_log_names_the_client_and_holds_no_key(gateway: Gateway) -> None:
    post(gateway, chat(A), path=f"/v1/completions?key={KEY}")
    wait_until(lambda: 'ada POST "/v1/completions" 200' in gateway.log(), "it is logged", pause=0.05)
    log = gateway.log() + "".join(path.read_text() for path in gateway.folder.glob("keys.map"))
    for key in KEYS:
        assert key["key"] not in log
