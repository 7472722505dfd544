# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Constant load on one address, in a process of its own: so many requests a second, every other one streamed.

A request begins when it is its turn, whether earlier ones have ended or not, but no more than so many at a time: an
overloaded machine gets fewer a second, which the figures say. One line for each on standard output: begin, end, longest
gap within the answer, streamed or whole, and ok or what was wrong.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import threading
import time
from typing import NamedTuple

LONGEST = 300  # seconds of a request: a gateway may hold it


class Request(NamedTuple):
    begin: float
    end: float
    gap: float  # longest time between two parts of the answer
    kind: str  # streamed or whole
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
            begin, end, gap, kind, outcome = line.rstrip("\n").split(" ", 4)
            self.requests.append(Request(float(begin), float(end), float(gap), kind, outcome))

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
            f" streamed: {len(self.failed)} failed; the longest took"
            f" {max(request.end - request.begin for request in self.requests):.1f} s, the longest gap in a stream was"
            f" {max(request.gap for request in self.requests if request.kind == 'streamed'):.1f} s"
        )


async def ask(host: str, port: int, key: str, model: str, number: int) -> tuple[float, str]:
    """The longest gap within the answer, and the outcome."""
    is_streamed = number % 2 == 0
    content = {"model": model, "messages": [{"role": "user", "content": f"Tell me of {number}"}], "max_tokens": 4}
    if is_streamed:
        content["stream"] = True
    body = json.dumps(content).encode()
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

    async def one(number: int) -> None:
        begin, gap = time.time(), 0.0
        try:
            gap, outcome = await asyncio.wait_for(ask(host, int(port), key, model, number), LONGEST)
        except (OSError, TimeoutError) as error:
            outcome = f"{type(error).__name__} {error}".strip().replace("\n", " ")
        print(begin, time.time(), gap, "whole" if number % 2 else "streamed", outcome, flush=True)

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


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
