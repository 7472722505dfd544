# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import (
    MAX_BODY,
    Answer,
    Model,
    add_rates,
    dotenv_value,
    error_message,
    open_paths,
    parse_completion,
    parse_metrics,
    parse_models,
    parse_version,
    request,
)
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"


@pytest.fixture
def listener() -> t.Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/health"


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = url(server)
    assert request(address, 5) == Answer(None, error="refused")


def test_timeout(listener: socket.socket) -> None:
    assert request(url(listener), 0.05) == Answer(None, error="timeout")


@pytest.mark.parametrize(
    ("waits", "said"),
    [((), []), ((0.4,), []), ((2, 2), ["/tokenize says nothing for 1 s instead of refusing"])],
    ids=["refused", "refused late", "works on it"],
)
def test_a_path_that_says_nothing_without_a_key_is_not_one_that_refuses(
    waits: tuple[float, ...], said: list[str]
) -> None:
    left = list(waits)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/tokenize" and left:
                over.wait(left.pop(0))
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, format: str, *args: t.Any) -> None:
            pass

    over = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        assert open_paths(f"http://127.0.0.1:{server.server_port}", 0.3) == said
        over.set()
        server.shutdown()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 ", b""])
def test_an_answer_that_drips_does_not_hold_it(listener: socket.socket, head: bytes) -> None:
    """A timeout of the socket is for one read: each byte begins it anew."""
    over = threading.Event()

    def drip() -> None:
        connection = listener.accept()[0]
        with connection, contextlib.suppress(OSError):
            connection.recv(1000)
            connection.sendall(head)
            while not over.wait(0.05):
                connection.sendall(b"a")

    dripping = threading.Thread(target=drip)
    dripping.start()
    begin = time.monotonic()
    answer = request(url(listener), 0.3)
    assert time.monotonic() - begin < 30  # it would never end
    over.set()
    dripping.join()
    assert answer == Answer(None, error="timeout")


def test_an_answer_without_end_is_cut(listener: socket.socket) -> None:
    def pour() -> None:
        connection = listener.accept()[0]
        with connection, contextlib.suppress(OSError):
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b"[" * 100_000)

    pouring = threading.Thread(target=pour)
    pouring.start()
    answer = request(url(listener), 10)
    pouring.join()
    assert (answer.status, len(answer.body)) == (200, MAX_BODY)
    assert parse_models(answer.body) == []


def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert request(url(listener), 0.05).error == "timeout"


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:99999/", "http://[bad/", "file:///etc/hostname"])
def test_odd_address(address: str) -> None:
    answer = request(address, 1)
    assert answer.error or answer.status


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("VLLM_API_KEY='se$cret #1'", "se$cret #1"),
        ('VLLM_API_KEY="a\\"b"', 'a"b'),
        ("VLLM_API_KEY=plain", "plain"),
        ("VLLM_API_KEY=plain # why", "plain"),
        ("  export VLLM_API_KEY = plain  ", "plain"),
        ("HF_TOKEN='x'\n# VLLM_API_KEY='no'\nVLLM_API_KEY='yes'\n", "yes"),
        ("VLLM_API_KEY='first'\nVLLM_API_KEY='last'", "last"),
        ("VLLM_API_KEY=''", None),
        ("VLLM_API_KEY=", None),
        ("MY_VLLM_API_KEY='x'", None),
        ("", None),
    ],
)
def test_key_of_the_env_file(text: str, value: str | None) -> None:
    assert dotenv_value(text, "VLLM_API_KEY") == value


def test_models() -> None:
    body = '{"object":"list","data":[{"id":"tiny","root":"/m","max_model_len":2048},{"id":"lora"},{"id":3},7]}'
    assert parse_models(body) == [Model("tiny", 2048), Model("lora", None)]


def test_version_and_completion() -> None:
    assert parse_version('{"version":"0.32.0"}') == "0.32.0"
    body = '{"choices":[{"text":" I"}],"usage":{"completion_tokens":1,"prompt_tokens":2}}'
    assert parse_completion(body) == (" I", 1)
    assert parse_completion('{"choices":[]}') == ("", 0)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(404, '{"error":{"message":"The model `x` does not exist.","code":404}}'), "HTTP 404: The model `x`"),
        (Answer(401, '{"error":"Unauthorized"}'), "HTTP 401: Unauthorized"),
        (Answer(500, "Internal\nServer Error"), "HTTP 500: Internal Server Error"),
        (Answer(None, error="timeout"), "timeout"),
    ],
)
def test_error_message(answer: Answer, text: str) -> None:
    assert error_message(answer).startswith(text)


def test_metrics_of_032() -> None:
    metrics = parse_metrics((FIXTURES / "0.32" / "metrics.txt").read_text())
    assert metrics is not None
    assert (metrics.kv_cache_tokens, metrics.max_concurrency) == (2_097_152, 1024.0)
    assert metrics.values == {
        "prompt_tokens_per_second": None,
        "generation_tokens_per_second": None,
        "running": 0,
        "waiting": 0,
        "preemptions": 0,
        "prompt_tokens": 64,
        "generation_tokens": 40,
        "prefix_cache_queries": 64,
        "prefix_cache_hits": 0,
        "kv_cache_usage": 0.0,
        "prefix_cache_hit_rate": 0.0,
        "draft_tokens": None,
        "accepted_draft_tokens": None,
        "draft_acceptance_rate": None,
    }


@pytest.mark.parametrize(
    ("drafted", "accepted", "rate"), [("30.0", "21.0", 0.7), ("30.0", "0.0", 0.0), ("0.0", "0.0", None)]
)
def test_how_many_drafts_are_accepted(drafted: str, accepted: str, rate: float | None) -> None:
    names = {"draft_tokens": drafted, "accepted_tokens": accepted, "accepted_tokens_per_pos": "9.0", "drafts": "10.0"}
    page = "\n".join(f'vllm:spec_decode_num_{name}_total{{engine="0"}} {value}' for name, value in names.items())
    metrics = parse_metrics(page)
    assert metrics is not None
    assert metrics.values["draft_acceptance_rate"] == rate


def test_metrics_of_010() -> None:
    text = (FIXTURES / "0.10.1.1" / "metrics.txt").read_text()
    metrics = parse_metrics(text)
    assert metrics is not None
    assert (metrics.kv_cache_tokens, metrics.max_concurrency) == (None, None)  # the log has them
    assert (metrics.values["running"], metrics.values["waiting"], metrics.values["preemptions"]) == (3, 1, 2)
    assert (metrics.values["kv_cache_usage"], metrics.values["prefix_cache_hit_rate"]) == (0.125, 0.25)
    # the older names alone do as well
    old = "\n".join(line for line in text.splitlines() if not line.startswith(("vllm:kv_", "vllm:prefix_")))
    assert parse_metrics(old) == metrics


def test_engines_are_added_up() -> None:
    lines = [f'vllm:num_requests_running{{engine="{engine}"}} {engine + 1}.0' for engine in (0, 1)]
    lines += [f'vllm:kv_cache_usage_perc{{engine="{engine}"}} 0.{engine + 1}' for engine in (0, 1)]
    metrics = parse_metrics("\n".join(lines))
    assert metrics is not None
    assert (metrics.values["running"], metrics.values["kv_cache_usage"]) == (3, 0.2)


@pytest.mark.parametrize("text", ["", "<html>", "node_load1 0.5", "vllm:num_requests_running NaN"])
def test_no_metrics(text: str) -> None:
    assert parse_metrics(text) is None


@given(st.text())
def test_no_answer_makes_it_raise(text: str) -> None:
    parse_models(text)
    parse_version(text)
    parse_completion(text)
    parse_metrics("vllm:num_requests_running " + text)
    parse_metrics("vllm:cache_config_info{" + text)
    dotenv_value(text, "VLLM_API_KEY")
    error_message(Answer(500, text))


def test_rates() -> None:
    text = (FIXTURES / "0.10.1.1" / "metrics.txt").read_text()
    before, after = parse_metrics(text), parse_metrics(text.replace(" 512.0", " 912.0"))
    assert before is not None
    assert after is not None
    add_rates(before, after, 2.0)
    assert after.values["generation_tokens_per_second"] == 200.0
    assert after.values["prompt_tokens_per_second"] == 0.0
    add_rates(after, before, 2.0)  # started anew in between
    assert before.values["generation_tokens_per_second"] is None
