# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as they are written, from the host itself: no client corrects them."""

from __future__ import annotations

import json
import subprocess
from typing import NamedTuple

from support.sandbox import Spark

# One connection each. The requests come by stdin: one may hold the key.
SEND = """
import json, socket, sys
def send(request):
    with socket.create_connection(("127.0.0.1", 8000), 60) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while len(answer) < 1 << 20:
            try:
                part = connection.recv(1 << 16)
            except ConnectionResetError:
                part = b""
            if not part:
                break
            answer += part
        return answer.decode("latin-1")
print(json.dumps([send(request) for request in %s]))
"""


class Request(NamedTuple):
    method: str
    path: str
    host: str | None = "127.0.0.1:8000"
    key: str | None = None
    headers: tuple[str, ...] = ()
    body: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            *([] if self.host is None else [f"Host: {self.host}"]),
            *([f"Authorization: Bearer {self.key}"] if self.key else []),
            *self.headers,
            *([f"Content-Length: {len(self.body)}", "Content-Type: application/json"] if self.body else []),
            *([] if any(line.startswith("Connection:") for line in self.headers) else ["Connection: close"]),
        ]
        return "\r\n".join(lines) + f"\r\n\r\n{self.body}"


class Answer(NamedTuple):
    """The status, 0 if the server hung up, and all of the answer."""

    status: int
    text: str

    @property
    def is_refused(self) -> bool:
        """By the middleware; or by the parser of HTTP, before anything was asked."""
        return self.status in (0, 401) or (self.status == 400 and "Invalid HTTP request received" in self.text)


def send(spark: Spark, requests: list[Request]) -> list[Answer]:
    script = SEND % json.dumps([str(request) for request in requests])
    command = [*spark.ssh.command(), "exec python3 -"]
    run = subprocess.run(command, input=script, capture_output=True, text=True, check=True, timeout=600)
    return [Answer(_status(text), text) for text in json.loads(run.stdout)]


def _status(text: str) -> int:
    words = text.split(" ", 2)
    return int(words[1]) if len(words) > 1 and words[0].startswith("HTTP/") else 0
