# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The middleware that asks for the API key: every path, whatever the Host header says; in the protocol of ASGI."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.roles.vllm.files.dgxspark_require_key import OPEN_PATHS, RequireKey, permits
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(__file__).parents[3] / "roles/vllm/files/dgxspark_require_key.py"
KEY = "0123456789abcdef0123456789abcdef"
BEARER = (b"authorization", f"Bearer {KEY}".encode())
# What made vLLM before 0.22.0 take another path for /v1 (CVE-2026-48746), and the like.
HOSTS = [b"spark:8000/x?", b"spark/?", b"a/b#", b"spark/health?", b"spark/health#", b"", b"127.0.0.1", b"[::1]/health"]
PATHS = [
    *("/v1/models", "/v1/chat/completions", "/invocations", "/tokenize", "/metrics", "/docs", "/openapi.json", "/", ""),
    *("/version", "/ping", "/pause", "/update_weights", "/health/", "//health", "/health/../v1/models", "/HEALTH"),
    *("/health?", "/health#", "/health;", "/health\n", "/v1/health", "health", "/healthz", "/health%2f", "/metrics/"),
]


def scope(path: str = "/invocations", *headers: tuple[bytes, bytes], **other: t.Any) -> dict[str, t.Any]:
    return {"type": "http", "method": "POST", "path": path, "headers": list(headers), **other}


def ask(asked: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> tuple[bool, list[dict[str, t.Any]]]:
    """Whether the server behind it was asked, and what was answered instead."""
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    passed: list[t.Any] = []
    sent: list[dict[str, t.Any]] = []

    async def app(inner: t.Any, _receive: t.Any, _send: t.Any) -> None:
        passed.append(inner)

    async def send(message: dict[str, t.Any]) -> None:
        sent.append(message)

    asyncio.run(RequireKey(app)(asked, None, send))
    assert passed in ([], [asked])
    return bool(passed), sent


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", PATHS)
def test_no_path_is_open_without_the_key(path: str, host: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    passed, sent = ask(scope(path, (b"host", host)), monkeypatch)
    assert not passed
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 401
    assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
    assert json.loads(sent[1]["body"]) == {"error": "Unauthorized"}


@pytest.mark.parametrize("path", PATHS)
def test_with_the_key_every_path_is_the_servers_own_business(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(scope(path, BEARER), monkeypatch) == (True, [])
    assert ask(scope(path, BEARER, type="websocket"), monkeypatch) == (True, [])


def test_health_and_the_servers_own_start_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"/health"} == OPEN_PATHS
    assert ask(scope("/health", method="GET"), monkeypatch) == (True, [])
    assert ask({"type": "lifespan"}, monkeypatch) == (True, [])


@pytest.mark.parametrize("path", ["/v1/realtime", "/health"])
def test_a_web_socket_is_closed_before_it_is_accepted(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"type": "websocket", "path": path, "headers": [(b"host", b"x")]}
    assert ask(asked, monkeypatch) == (False, [{"type": "websocket.close", "code": 1008}])


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"Bearer", b"Bearer ", KEY.encode(), b"Basic " + KEY.encode(), b"Bearer  " + KEY.encode()),
        *(f"Bearer {KEY[:-1]}".encode(), f"Bearer {KEY}x".encode(), f"Bearer {KEY.upper()}".encode(), b"Bearer \xff"),
    ],
)
def test_what_is_not_the_key_does_not_pass(value: bytes) -> None:
    assert not permits(scope("/v1/models", (b"authorization", value)), [KEY])
    # of several headers the first counts, for vLLM too
    assert not permits(scope("/v1/models", (b"authorization", value), BEARER), [KEY])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_several_keys(scheme: str) -> None:
    for key in ("one", "two"):
        assert permits(scope("/v1/models", (b"authorization", f"{scheme} {key}".encode())), ["one", "two"])
    assert not permits(scope("/v1/models", (b"authorization", b"Bearer three")), ["one", "two"])
    assert not permits(scope("/v1/models", (b"authorization", b"Bearer ")), [""])


def test_browsers_may_ask_whether_they_may_send_a_key() -> None:
    origin, method = (b"origin", b"http://a"), (b"access-control-request-method", b"POST")
    assert permits(scope("/v1/models", origin, method, method="OPTIONS"), [KEY])
    # without both the request would get to the route: /metrics answers any method in some versions
    assert not permits(scope("/metrics", origin, method="OPTIONS"), [KEY])
    assert not permits(scope("/metrics", method, method="OPTIONS"), [KEY])
    assert not permits(scope("/metrics", origin, method, method="GET"), [KEY])
    assert not permits({**scope("/v1/realtime", origin, method), "type": "websocket"}, [KEY])


@given(
    st.text(),
    st.lists(st.tuples(st.binary(), st.binary())),
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    st.sampled_from(["http", "websocket", "webtransport"]),
)
def test_only_the_key_opens(path: str, headers: list[tuple[bytes, bytes]], method: str, kind: str) -> None:
    passed = permits({"type": kind, "method": method, "path": path, "headers": headers}, [KEY])
    assert passed == (kind == "http" and path in OPEN_PATHS)


def test_without_a_key_in_the_environment_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(KeyError):
        RequireKey(None)  # type: ignore[arg-type]


def test_it_needs_nothing_that_an_image_may_lack() -> None:
    """Python 3.10 and its standard library; and its name hides no module of anybody."""
    tree = ast.parse(FILE.read_text(), feature_version=(3, 10))
    names = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert names <= sys.stdlib_module_names
    assert FILE.stem not in sys.stdlib_module_names
