# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key is asked for on every route of the real vLLM, whatever path and Host header a request is written with."""

from __future__ import annotations

import itertools
import json

import pytest

from support.playbook import Run
from support.sandbox import CONTAINER, MODEL, Spark

from .raw_http import Answer, Request, send
from .vault import API_KEY

pytestmark = pytest.mark.usefixtures("run")

# What vLLM's page on security names, with a key or without; some only exist with options that are not set here.
DOCUMENTED = [
    *("/v1/models", "/v1/chat/completions", "/v1/chat/completions/batch", "/v1/chat/completions/render"),
    *("/v1/completions", "/v1/completions/render", "/v1/embeddings", "/v1/audio/transcriptions", "/v1/messages"),
    *("/v1/audio/translations", "/v1/messages/count_tokens", "/v1/responses", "/v1/responses/x", "/v1/score"),
    *("/v1/responses/x/cancel", "/v1/rerank", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/realtime"),
    *("/inference/v1/generate", "/v2/embed", "/v2/rerank", "/invocations", "/generative_scoring", "/pooling"),
    *("/classify", "/score", "/rerank", "/pause", "/resume", "/is_paused", "/scale_elastic_ep"),
    *("/is_scaling_elastic_ep", "/init_weight_transfer_engine", "/update_weights", "/get_world_size"),
    *("/abort_requests", "/tokenize", "/detokenize", "/ping", "/version", "/load", "/tokenizer_info", "/server_info"),
    *("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache", "/sleep", "/wake_up", "/is_sleeping"),
    *("/collective_rpc", "/start_profile", "/stop_profile", "/metrics", "/docs", "/redoc", "/openapi.json", "/"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]
# A Host header that turns the rest of the address into something else, for those who put the two together.
HOSTS = [
    f"{name}{rest}"
    for name, rest in itertools.product(
        ("spark:8000", "127.0.0.1", "localhost", "[::1]", ""),
        ("/?", "/health?", "/health#", "#", "?", "\\health?", "/health/..;", "@127.0.0.1/health?"),
    )
]
TARGETS = [("GET", "/v1/models"), ("POST", "/invocations"), ("GET", "/metrics"), ("POST", "/tokenize")]
PATHS = [
    f"{before}{path}{after}"
    for path in ("/v1/models", "/metrics", "/version", "/docs")
    for before, after in (
        *(("/", ""), ("/.", ""), ("/health/..", ""), ("/health/%2e%2e", ""), ("/health;", ""), ("/health%00", "")),
        *(("", "/"), ("", "/../health"), ("", "%2f..%2fhealth"), ("", "?x=/health"), ("", "#/health"), ("", "/health")),
        *(("/", "."), ("//", ""), ("/v1/..;", ""), ("/health/..;", ""), ("/%2e", ""), ("/health/.%2e", ""), ("*", "")),
        *(("http://spark", ""), ("http://spark/health@", ""), ("/health%3f", ""), ("/HEALTH", "")),
    )
]

# What a proxy, a framework or another version of HTTP would take for the path, the method or the key.
HEADERS = [
    *("X-Original-URL: /health", "X-Rewrite-URL: /health", "X-Forwarded-Prefix: /health", "X-Forwarded-Path: /health"),
    *("X-HTTP-Method-Override: OPTIONS", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1;host=localhost"),
    *("X-API-Key: {key}", "API-Key: {key}", "Cookie: Authorization=Bearer {key}", "Proxy-Authorization: Bearer {key}"),
    *("Authorization: Bearer wrong\r\nAuthorization: Bearer {key}", "Authorization: Bearer wrong, Bearer {key}"),
    *("Authorization: Bearer\t{key}", "Authorization: Bearer  {key}", "Authorization_: Bearer {key}"),
    *("Origin: http://a\r\nAccess-Control-Request-Method: GET", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
    *("Host: spark\r\nHost: spark/health?", "Transfer-Encoding: chunked", "Expect: 100-continue"),
]
WITHIN = [f"/v1/models HTTP/{version}\r\nX: " for version in ("0.9", "1.0", "2.0")]


@pytest.fixture(scope="module")
def routes(spark: Spark) -> list[str]:
    """All paths that this vLLM has, and all that its page names."""
    (answer,) = send(spark, [Request("GET", "/openapi.json", key=API_KEY)])
    assert answer.status == 200, answer.text
    body = answer.text[answer.text.index("{") : answer.text.rindex("}") + 1]
    own = [path.replace("{", "").replace("}", "") for path in json.loads(body)["paths"]]
    assert {"/v1/models", "/invocations", "/tokenize", "/health"} <= set(own)
    return sorted({*own, *DOCUMENTED} - {"/health"})


def open_ones(requests: list[Request], answers: list[Answer]) -> list[tuple[Request, str]]:
    return [
        (request, answer.text[:200]) for request, answer in zip(requests, answers, strict=True) if not answer.is_refused
    ]


def test_no_route_answers_without_the_key(spark: Spark, routes: list[str]) -> None:
    requests = [
        Request(method, path, body="{}" if method in ("POST", "PUT", "PATCH") else "")
        for path in routes
        for method in METHODS
    ]
    assert open_ones(requests, send(spark, requests)) == []


def test_nor_with_a_wrong_one(spark: Spark, routes: list[str]) -> None:
    wrong = ["Bearer", "Bearer wrong", "Basic eDp5", f"Bearer {API_KEY[:-1]}", f"Bearer {API_KEY}x", API_KEY]
    requests = [Request("GET", path, headers=(f"Authorization: {value}",)) for path in routes for value in wrong]
    assert open_ones(requests, send(spark, requests)) == []


def test_no_host_header_opens_one(spark: Spark) -> None:
    assert len(HOSTS) == 40
    requests = [Request(method, path, host) for method, path in TARGETS for host in [*HOSTS, None]]
    assert open_ones(requests, send(spark, requests)) == []


def test_no_way_to_write_a_path_opens_one(spark: Spark) -> None:
    assert len(PATHS) > 40
    requests = [Request("GET", path) for path in PATHS]
    assert open_ones(requests, send(spark, requests)) == []


def test_no_other_header_opens_one(spark: Spark) -> None:
    requests = [
        Request(method, path, headers=(header.format(key=API_KEY),)) for method, path in TARGETS for header in HEADERS
    ]
    requests += [Request("GET", path) for path in WITHIN] + [Request("CONNECT", "127.0.0.1:8000")]
    assert open_ones(requests, send(spark, requests)) == []


def test_a_request_behind_an_open_one_is_refused(spark: Spark) -> None:
    """On one connection, after /health; and in what claims to be its body."""
    second = str(Request("GET", "/v1/models"))
    keep = ("Connection: keep-alive",)
    chunked = Request("GET", "/health", headers=(*keep, "Transfer-Encoding: chunked", f"\r\n0\r\n\r\n{second}"))
    for first in (Request("GET", "/health", headers=(*keep, f"\r\n{second}")), chunked):
        (answer,) = send(spark, [first])
        assert answer.text.count("HTTP/1.1 200 ") <= 1, answer.text
        assert "owned_by" not in answer.text


def test_what_a_browser_asks_first_reaches_no_route(spark: Spark, routes: list[str]) -> None:
    preflight = ("Origin: http://chat.example", "Access-Control-Request-Method: POST")
    answers = send(spark, [Request("OPTIONS", path, headers=preflight) for path in routes])
    assert {answer.text.partition("\r\n\r\n")[2] for answer in answers} <= {"OK", "Disallowed CORS origin"}


def test_no_web_socket_is_accepted(spark: Spark) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    paths = ["/v1/realtime", "/health", "/v1/models"]
    answers = send(spark, [Request("GET", path, headers=(*upgrade, key)) for path in paths])
    assert [answer.status for answer in answers] == [403] * len(paths)


def test_every_route_takes_the_key(spark: Spark, routes: list[str]) -> None:
    """A method that no route has: what some of them do would end the test."""
    answers = send(spark, [Request("PATCH", path, key=API_KEY) for path in routes])
    assert [path for path, answer in zip(routes, answers, strict=True) if answer.status in (0, 401, 403)] == []
    reads = ["/v1/models", "/version", "/metrics", "/docs", "/openapi.json"]
    assert [answer.status for answer in send(spark, [Request("GET", path, key=API_KEY) for path in reads])] == [200] * 5
    says = json.dumps({"model": MODEL, "prompt": "Hello", "max_tokens": 1})
    (token,) = send(spark, [Request("POST", "/v1/completions", key=API_KEY, body=says)])
    assert token.status == 200, token.text


def test_what_is_open_says_nothing(spark: Spark) -> None:
    """Whether the server lives; and to browsers, that they may send a key."""
    preflight = ("Origin: http://chat.example", "Access-Control-Request-Method: POST")
    alive, asked = send(spark, [Request("GET", "/health"), Request("OPTIONS", "/v1/models", headers=preflight)])
    assert (alive.status, alive.text.partition("\r\n\r\n")[2]) == (200, "")
    # vLLM's own CORS answers, by the origins that it allows
    assert asked.text.partition("\r\n\r\n")[2] in ("OK", "Disallowed CORS origin")


def test_a_refusal_is_the_one_of_vllm(spark: Spark) -> None:
    (answer,) = send(spark, [Request("POST", "/invocations", body="{}")])
    assert answer.text.startswith("HTTP/1.1 401 ")
    assert "www-authenticate: bearer" in answer.text.lower()
    assert answer.text.endswith('{"error":"Unauthorized"}')


def test_the_key_opens_no_address(spark: Spark, run: Run) -> None:
    assert spark.inspect()["HostConfig"]["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}


@pytest.mark.parametrize("file", ["/opt/dgxspark/dgxspark_require_key.py", "/usr/local/bin/vllm", "/etc/passwd", "/x"])
def test_neither_middleware_nor_image_can_be_changed_from_the_container(spark: Spark, file: str) -> None:
    assert "Read-only file system" in spark.root(f"docker exec {CONTAINER} sh -c 'echo >>{file}' 2>&1 || true")
