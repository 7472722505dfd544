# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for the Hugging Face Hub: told what to do through /control, and run as a process of a test's own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from support.paths import SANDBOX
from support.waiting import wait_until


class HubClient:
    """The hub at an address. molecule/shared/hub/server.py lists the settings and the faults."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def control(self, **settings: Any) -> dict[str, Any]:
        """Change settings and return all of them, with the counters of bytes and requests."""
        data = json.dumps(settings).encode() if settings else None
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/control", data), timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def set_rate(self, bytes_per_second: int) -> None:
        """All clients together get so much; 0 is without a limit."""
        self.control(rate_bytes_per_second=bytes_per_second)

    def set_faults(self, rules: list[dict[str, Any]]) -> None:
        assert self.control(fail=rules)["fail"] == rules

    def reset(self) -> None:
        """No limit, no fault, counters at zero."""
        self.control(rate_bytes_per_second=0, fail=[], reset=True)

    @property
    def bytes(self) -> int:
        """Bytes of files sent since the last reset."""
        return int(self.control()["bytes"])

    @property
    def requests(self) -> int:
        """Requests since the last reset."""
        return int(self.control()["requests"])

    def is_up(self) -> bool:
        try:
            return bool(self.control())
        except OSError:
            return False


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as free:
        port: int = free.getsockname()[1]
    return port


class HubServer(HubClient):
    """A hub on this machine with models of its own: what it counts is of one test only, and it can go away."""

    def __init__(self, models: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        self.models = models
        self.port = port or free_port()
        super().__init__(f"http://{address}:{self.port}")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None

    def start(self) -> None:
        """It reads the models once, when it starts."""
        if self.process is not None:
            return
        command = [sys.executable, SANDBOX / "hub" / "server.py", "--models", self.models, "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--rate", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "the hub")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the hub ended"
        return self.is_up()
