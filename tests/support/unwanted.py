# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that a gateway has to refuse, each with its status, among some that it has to forward, and their client."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, NamedTuple

from support.haproxy import Answer, read_answer

CHAT, MODELS = "/v1/chat/completions", "/v1/models"
SMALL = 5000  # bytes of a body that the small key may send
PER_MINUTE = 5  # requests of each key that is brought to its limit; one at a time
LONGEST = 60  # seconds until a slow request counts as not answered
CLIENTS = 4  # connections at a time, each for many requests
HELD = 10  # requests that wait for a body while others are refused: a busy machine has to be done with them in time


class Target(NamedTuple):
    host: str
    port: int
    model: str
    key: str
    small_key: str
    engine_key: str

    def open(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=LONGEST)


class Request(NamedTuple):
    kind: str
    status: int  # that it must get
    text: bytes
    forwarded: str = ""  # its text in the body, if an engine must get it


class Outcome(NamedTuple):
    request: Request
    status: int  # that it got; 0 without an answer


def http(
    path: str, headers: Sequence[str], body: bytes = b"", method: str = "POST", length: int | None = None
) -> bytes:
    length = len(body) if length is None else length
    kind = "Content-Type: application/json"  # without it vLLM refuses what it generates from
    lines = [f"{method} {path} HTTP/1.1", "Host: gw", kind, f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def bearer(key: str) -> list[str]:
    return [f"Authorization: Bearer {key}"]


def chat(model: Any, text: str = "Hello", **more: Any) -> bytes:
    content = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1, **more}
    return json.dumps(content).encode()


def wrong_key(random: Random, target: Target) -> bytes:
    key = target.key
    headers = [
        [],
        bearer(""),
        bearer(key[:-1]),
        bearer(key + "x"),
        bearer(key.upper()),
        bearer(f"{random.getrandbits(128):032x}"),
        bearer(target.engine_key),
        bearer(hashlib.sha256(key.encode()).hexdigest().upper()),
        [f"Authorization: {key}"],
        [f"Authorization: Basic {base64.b64encode(f'{key}:{key}'.encode()).decode()}"],
        [f"X-Api-Key: {key}"],
        [f"Cookie: key={key}"],
    ]
    if random.random() < 0.5:
        return http(random.choice([MODELS, "/metrics"]), random.choice(headers), method="GET")
    return http(random.choice([CHAT, f"{CHAT}?api_key={key}"]), random.choice(headers), chat(target.model))


def wrong_path(random: Random, target: Target) -> bytes:
    paths = [
        *("/", "/metrics", "/version", "/load", "/ping", "/docs", "/openapi.json", "/server_info", "/invocations"),
        *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/sleep", "/wake_up", "/reset_prefix_cache"),
        *("/collective_rpc", "/v1/audio/transcriptions", "/stats", "/v1", "/v1/", "/health/"),
        *(f"/{CHAT}", f"{CHAT}/", f"{CHAT};x", f"{CHAT}/../../../metrics", f"{CHAT}%00", "/v1//chat/completions"),
        *("/v1/chat%2fcompletions", "/v1/./chat/completions", "/V1/CHAT/COMPLETIONS", "/v1\\chat\\completions"),
        f"/v1/{random.getrandbits(64):x}",
        f"/{'x' * random.randrange(1, 4000)}",
    ]
    path, method = random.choice(paths), random.choice(["GET", "POST"])
    return http(path, bearer(target.key), chat(target.model) if method == "POST" else b"", method)


def wrong_method(random: Random, target: Target) -> bytes:
    method = random.choice(["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "PROPFIND"])
    if random.random() < 0.2:
        return http(MODELS, bearer(target.key), chat(target.model), "POST")
    return http(CHAT, bearer(target.key), chat(target.model), method)


def unknown_model(random: Random, target: Target) -> bytes:
    model = target.model
    names = ["", 5, True, "m" * 2000, f"{random.getrandbits(64):x}"]
    names += [f"{model} ", model[:-1], model.upper(), f"x/{model}"]
    return http(CHAT, bearer(target.key), chat(random.choice(names)))


def no_model(random: Random, target: Target) -> bytes:
    bodies = [
        *(b"", b"{}", b"[]", b"null", b'"model"', b"{", b"\xef\xbb\xbf" + chat(target.model), b"[" * 2000),
        *(chat(None), chat({"id": target.model}), b"[" + chat(target.model) + b"]"),
        json.dumps({"metadata": {"model": target.model}, "messages": [{"model": target.model}]}).encode(),
        f"model={target.model}".encode(),
        random.randbytes(random.randrange(1, 2000)).replace(b"{", b"["),
    ]
    return http(CHAT, bearer(target.key), random.choice(bodies))


def oversized(random: Random, target: Target) -> bytes:
    large = chat(target.model, "x" * random.randrange(SMALL, 4 * SMALL))
    chunked = http(CHAT, bearer(target.small_key)).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    texts = [
        http(CHAT, bearer(target.small_key), large),
        http(CHAT, bearer(target.small_key), length=random.randrange(SMALL + 1, 2**62)),
        http(CHAT, bearer(target.key), length=2**22 + random.randrange(1, 2**40)),
        chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(large), large),
    ]
    return random.choice(texts)


def broken(random: Random, target: Target) -> bytes:
    """What is no HTTP. The connection ends with it."""
    good = http(CHAT, bearer(target.key), chat(target.model))
    get = f"GET {MODELS} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {target.key}\r\n".encode()
    chunked = get.replace(b"GET " + MODELS.encode(), b"POST " + CHAT.encode()) + b"Transfer-Encoding: chunked\r\n"
    texts = [
        b"\x16\x03\x01" + random.randbytes(200).replace(b"\n", b"") + b"\r\n\r\n",  # TLS
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + good,
        get.replace(b" HTTP/1.1", b""),
        get.replace(b"HTTP/1.1", b"x HTTP/1.1") + b"\r\n",
        get.replace(b"Host: gw", b"Host: gw\r\nHost: other") + b"\r\n",
        get + b"no colon\r\n\r\n",
        get + b"X y: z\r\n\r\n",
        get + b"X: a\x00b\r\n\r\n",
        get + b"X: y\r\n" * 200,
        get + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        *(get + b"Content-Length: %s\r\n\r\n" % length for length in (b"-1", b"x", b"1 1", b"9" * 30)),
        get + b"Transfer-Encoding: gzip\r\n\r\n",
        chunked + b"\r\nx\r\n",
        chunked + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + good,  # is it a body, or a request of its own?
    ]
    return random.choice(texts)


def open_to_all(random: Random, target: Target) -> bytes:
    return http("/health", random.choice([[], bearer("wrong")]), method="GET")


def models(_random: Random, target: Target) -> bytes:
    return http(MODELS, bearer(target.key), method="GET")


class Kind(NamedTuple):
    make: Callable[[Random, Target], bytes]
    status: int
    share: int


KINDS = {
    "wrong key": Kind(wrong_key, 401, 20),
    "wrong path": Kind(wrong_path, 404, 20),
    "wrong method": Kind(wrong_method, 405, 8),
    "unknown model": Kind(unknown_model, 404, 8),
    "no model": Kind(no_model, 400, 10),
    "oversized": Kind(oversized, 413, 8),
    "broken": Kind(broken, 400, 10),
    "health": Kind(open_to_all, 200, 3),
    "models": Kind(models, 200, 3),
}
FORWARDED = 10  # the share of good requests


def good(key: str, model: str, text: str) -> Request:
    return Request("good", 200, http(CHAT, bearer(key), chat(model, text)), text)


def too_many(target: Target, key: str) -> Request:
    return Request("at its limit", 429, http(CHAT, bearer(key), chat(target.model, "too many")))


def mix(target: Target, count: int, seed: int) -> Iterator[Request]:
    random = Random(seed)
    names = random.choices([*KINDS, "good"], [*(kind.share for kind in KINDS.values()), FORWARDED], k=count)
    for number, name in enumerate(names):
        if name == "good":
            key = random.choice([target.key, target.small_key])
            yield good(key, target.model, f"number {number} of {seed}")
        else:
            yield Request(name, KINDS[name].status, KINDS[name].make(random, target))


def asked(connection: socket.socket, text: bytes) -> Answer:
    with contextlib.suppress(ConnectionError):  # what is refused need not be read to its end
        connection.sendall(text)
    try:
        return read_answer(connection)
    except (ConnectionError, TimeoutError):
        return Answer(0, {}, b"")


def answered(target: Target, requests: Sequence[Request]) -> list[Outcome]:
    """One after the other, on one connection as long as it lasts."""
    found, connection = [], target.open()
    for request in requests:
        answer = asked(connection, request.text)
        found.append(Outcome(request, answer.status))
        # what is refused for its length has not been sent: what comes next would be taken for it
        if answer.status in (0, 413) or answer.headers.get("connection") == "close":
            connection.close()
            connection = target.open()
    connection.close()
    return found


def answered_by_many(target: Target, requests: Sequence[Request]) -> list[Outcome]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = pool.map(answered, [target] * CLIENTS, [requests[number::CLIENTS] for number in range(CLIENTS)])
        return [outcome for part in parts for outcome in part]


def slow(target: Target, count: int) -> list[Outcome]:
    """So many heads and so many bodies that do not end, all at a time: a byte of each every half second."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {target.key}\r\nX: y".encode()
    body = http(CHAT, bearer(target.key), chat(target.model)[:-30], length=2000)
    requests = [Request("slow head", 408, head), Request("slow body", 408, body)] * count
    waiting = {target.open(): request for request in requests}
    found, end = [], time.monotonic() + LONGEST
    for connection, request in waiting.items():
        connection.sendall(request.text)
    while waiting and time.monotonic() < end:
        due = time.monotonic() + 0.5
        while waiting and (left := due - time.monotonic()) > 0:
            for connection in select.select(list(waiting), [], [], left)[0]:
                found.append(Outcome(waiting.pop(connection), asked(connection, b"").status))
                connection.close()
        for connection in waiting:
            with contextlib.suppress(ConnectionError):  # it is answered by now
                connection.send(b"x")
    for connection in waiting:
        connection.close()
    return [*found, *(Outcome(request, 0) for request in waiting.values())]


def at_their_limit(target: Target, keys: Sequence[str]) -> list[Outcome]:
    """Each key has one request in progress, some at a time, and is refused more; then it has made all of a minute, and
    is refused more."""
    parts = (keys[number : number + HELD] for number in range(0, len(keys), HELD))
    return [outcome for part in parts for outcome in _at_their_limit(target, part)]


def _at_their_limit(target: Target, keys: Sequence[str]) -> list[Outcome]:
    found, held = [], []
    for key in keys:
        body = chat(target.model, f"held of {key}")
        connection = target.open()
        connection.sendall(http(CHAT, [*bearer(key), "Expect: 100-continue"], length=len(body)))
        held.append((key, connection, body))
    for _key, connection, _body in held:
        assert read_answer(connection).status == 100  # it counts from now on, and waits for its body
    found += answered_by_many(target, [too_many(target, key) for key in keys] * 2)

    def rest(key: str, connection: socket.socket, body: bytes) -> Iterator[Outcome]:
        for number in range(PER_MINUTE + 2):
            if number == 0:
                request = Request("held", 200, body, f"held of {key}")
            elif number < PER_MINUTE:
                request = good(key, target.model, f"number {number} of {key}")
            else:
                request = too_many(target, key)
            yield Outcome(request, asked(connection, request.text).status)
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        for outcomes in pool.map(lambda one: list(rest(*one)), held):
            found += outcomes
    return found


def mistakes(outcomes: Sequence[Outcome]) -> Counter[tuple[str, int, bytes]]:
    """What had another status than it must: kind, that status, and the beginning."""
    wrong = (outcome for outcome in outcomes if outcome.status != outcome.request.status)
    return Counter((outcome.request.kind, outcome.status, outcome.request.text[:300]) for outcome in wrong)
