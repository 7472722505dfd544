# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Constant load on one address, in a process of its own: so many requests a second, every other one streamed, and half
of both by OpenAI's client, as users have it; the other half by one that looks at each byte.

A request begins when it is its turn, whether earlier ones have ended or not, but no more than so many at a time: an
overloaded machine gets fewer a second, which the figures say. One line for each on standard output: begin, end, longest
gap within the answer, streamed or whole, openai or plain, and ok or what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

LONGEST = 300  # seconds of a request: a gateway may hold it


class Request(NamedTuple):
    begin: float
    end: float
    gap: float  # longest time between two parts of the answer
    kind: str  # streamed or whole
    client: str  # openai or plain
    outcome: str  # ok, or what was wrong


class Load:
    """The load, as long as the context lasts. At its end it is waited for requests in progress."""

    def __init__(self, host: str, port: int, key: str, model: str, per_second: int, at_once: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, host, str(port), model, str(per_second), str(at_once)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(f"{key}\n")
        self._process.stdin.flush()
        self.requests: list[Request] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            begin, end, gap, kind, client, outcome = line.rstrip("\n").split(" ", 5)
            self.requests.append(Request(float(begin), float(end), float(gap), kind, client, outcome))

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        """Twice is allowed."""
        assert self._process.stdin is not None
        self._process.stdin.close()  # no new requests
        self._process.wait(LONGEST + 10)
        self._reader.join(10)

    @property
    def failed(self) -> list[Request]:
        return [request for request in self.requests if request.outcome != "ok"]

    @property
    def figures(self) -> str:
        begins = [request.begin for request in self.requests]
        return (
            f"{len(self.requests)} requests, {len(self.requests) / (max(begins) - min(begins)):.1f} a second, half"
            f" streamed, half by OpenAI's client: {len(self.failed)} failed; the longest took"
            f" {max(request.end - request.begin for request in self.requests):.1f} s, the longest gap in a stream was"
            f" {max(request.gap for request in self.requests if request.kind == 'streamed'):.1f} s"
        )


def question(model: str, number: int) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": f"Tell me of {number}"}], "max_tokens": 4}


async def ask_by_openai(client: AsyncOpenAI, content: dict[str, Any], is_streamed: bool) -> tuple[float, str]:
    """The longest gap within the answer, and the outcome. What the client raises is an outcome, too."""
    if not is_streamed:
        answer = await client.chat.completions.create(**content)
        return 0.0, "ok" if answer.choices else "no choices"
    parts = await client.chat.completions.create(**content, stream=True)
    gap, last, is_whole = 0.0, time.monotonic(), False
    async for part in parts:
        now = time.monotonic()
        gap, last = max(gap, now - last), now
        is_whole |= any(choice.finish_reason for choice in part.choices)
    return gap, "ok" if is_whole else "ended in the middle"


async def ask(host: str, port: int, key: str, content: dict[str, Any], is_streamed: bool) -> tuple[float, str]:
    """The same, byte by byte, on a connection of its own."""
    body = json.dumps({**content, "stream": is_streamed}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(head.encode() + body)
        answer, gap, last = b"", 0.0, 0.0
        while part := await reader.read(65536):
            answer += part
            now = time.monotonic()
            gap, last = max(gap, now - last if last else 0.0), now
    finally:
        writer.close()
    return gap, judged(answer, is_streamed)


def judged(answer: bytes, is_streamed: bool) -> str:
    status = answer.split(b"\r\n", 1)[0].decode()
    if " 200 " not in status:
        return f"answered {status or 'nothing'}"
    if is_streamed:
        return "ok" if b"data: [DONE]" in answer and answer.endswith(b"0\r\n\r\n") else "ended in the middle"
    try:
        return "ok" if json.loads(answer.partition(b"\r\n\r\n")[2])["choices"] else "no choices"
    except (ValueError, KeyError):
        return "ended in the middle"


async def main(host: str, port: str, model: str, per_second: str, at_once: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    key = sys.stdin.readline().strip()
    stopped = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    running: set[asyncio.Task[None]] = set()
    # No retries, which would hide a failure; and as many connections as there are requests.
    connections = DefaultAsyncHttpxClient(limits=httpx2.Limits(max_keepalive_connections=100), trust_env=False)
    url = f"http://{host}:{port}/v1"
    client = AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=LONGEST, http_client=connections)

    async def one(number: int) -> None:
        begin, gap = time.time(), 0.0
        is_streamed, by_openai, content = number % 2 == 0, number % 4 < 2, question(model, number)
        if by_openai:
            asked = ask_by_openai(client, content, is_streamed)
        else:
            asked = ask(host, int(port), key, content, is_streamed)
        try:
            gap, outcome = await asyncio.wait_for(asked, LONGEST)
        except Exception as error:  # whatever it is, the request has failed
            outcome = f"{type(error).__name__} {error}".strip().replace("\n", " ")
        kind, by = "streamed" if is_streamed else "whole", "openai" if by_openai else "plain"
        print(begin, time.time(), gap, kind, by, outcome, flush=True)

    number, due = 0, time.monotonic()
    while not stopped.done():
        if len(running) >= int(at_once):
            await asyncio.sleep(0.05)
            due = time.monotonic()  # what could not begin is not made up for
            continue
        task = asyncio.create_task(one(number))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
        due += 1 / int(per_second)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    await asyncio.gather(*running)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
