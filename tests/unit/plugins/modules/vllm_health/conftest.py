# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server, and the host on which it runs."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
from pathlib import Path

import pytest
from health_host import FIXTURES, MODEL, Host, Reply, Server


@pytest.fixture
def server() -> t.Iterator[tuple[type[Server], int]]:
    class Mine(Server):
        replies: t.ClassVar[dict[str, Reply]] = {
            "/health": (200, ""),
            "/version": (200, '{"version":"0.32.0"}'),
            "/v1/models": (200, json.dumps({"data": [{"id": MODEL, "max_model_len": 32768}]})),
            "/v1/completions": (200, '{"choices":[{"text":" I"}],"usage":{"completion_tokens":1}}'),
            "/metrics": (200, (FIXTURES / "0.32" / "metrics.txt").read_text()),
        }
        key = None
        requests: t.ClassVar[list[tuple[str, str | None]]] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield Mine, httpd.server_port
        httpd.shutdown()
        thread.join()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[type[Server], int]) -> Host:
    found = Host(tmp_path, server[1])
    found.program("docker", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return found
