# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with programs that stand in for Docker and systemd, and a server that stands in for vLLM."""

from __future__ import annotations

import http.server
import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_health

from support.paths import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "vllm"
KEY = "s3cret-key"
MODEL = "Qwen/Qwen3-8B-FP8"
Reply = tuple[int, str]


class Host:
    """What the module finds on the host."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.calls = folder / "calls"

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.calls}"\n{script}\n')
        path.chmod(0o755)

    def container(self, log: Path | str, **state: t.Any) -> None:
        """A container with this log."""
        values = {
            "Status": "running",
            "ExitCode": 0,
            "StartedAt": "2026-11-23T09:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        }
        restarts = state.pop("restarts", 0)
        entry = {
            "Id": "0123456789ab" * 5,
            "Name": "/vllm-x",
            "RestartCount": restarts,
            "State": {**values, **state},
            "Config": {"Image": "vllm:1", "Labels": {"dgxspark.vllm.release": "abc"}},
        }
        (self.folder / "inspect.json").write_text(json.dumps([entry]))
        if isinstance(log, str):
            (self.folder / "log").write_text(log)
            log = self.folder / "log"
        self.program("docker", f'case "$1" in inspect) cat "{self.folder}/inspect.json";; logs) cat "{log}" >&2;; esac')

    def no_container(self) -> None:
        self.program("docker", 'echo "Error: No such container: vllm-x" >&2; exit 1')

    def unit(self, journal: str = "", **values: t.Any) -> None:
        defaults = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": 0}
        lines = "\n".join(f"{key}={value}" for key, value in {**defaults, **values}.items())
        self.program("systemctl", f"cat <<'END'\n{lines}\nEND")
        self.program("journalctl", f"cat <<'END'\n{journal}\nEND")


class Server(http.server.BaseHTTPRequestHandler):
    replies: dict[str, Reply]
    key: str | None
    open_paths = False  # asks for the key as vLLM alone does
    requests: list[tuple[str, str | None]]

    def _answer(self, body: str | None) -> None:
        self.requests.append((self.path, body))
        status, text = self.replies.get(self.path, (404, ""))
        asks = self.path.startswith("/v1") if self.open_paths else self.path != "/health"
        if self.key and asks and self.headers["Authorization"] != f"Bearer {self.key}":
            status, text = 401, '{"error":"Unauthorized"}'
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


def run(host: Host, capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    arguments = {"container": "vllm-x", "url": f"http://127.0.0.1:{host.port}/", **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        vllm_health.main()
    found: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    assert found["changed"] is False
    return found
