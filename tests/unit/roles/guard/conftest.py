# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service, the host's /proc, and stand-ins for Docker and systemd."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Service
from guarded import meminfo, program, release


@pytest.fixture
def service(tmp_path: Path) -> Service:
    service = Service(tmp_path / "vllm", "vllm")
    release(service, "one")
    return service


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    proc = tmp_path / "proc"
    (proc / "sys" / "vm").mkdir(parents=True)
    (proc / "sys" / "kernel" / "random").mkdir(parents=True)
    (proc / "sys" / "kernel" / "random" / "boot_id").write_text("first-boot\n")
    meminfo(proc, free=100, available=110)
    for pid, name, mib in ((7, "small", 10), (812, "VLLM::EngineCor", 4096), (9, "middle", 2048), (10, "tiny", 1)):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "comm").write_text(f"{name}\n")
        (proc / str(pid) / "status").write_text(f"Name:\t{name}\nVmRSS:\t{mib * 1024} kB\n")
    return proc


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that only say that they were called; the file with what they said."""
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.delenv("MAINPID", raising=False)
    cache = tmp_path / "vllm" / "cache"
    program(calls, "docker", f'if [ "$1" = ps ]; then echo aa one /opt/hf,{cache}; echo bb one {cache}; fi')
    program(calls, "systemctl", "")
    program(calls, "nvidia-smi", 'echo "812, 66560"')
    return calls
