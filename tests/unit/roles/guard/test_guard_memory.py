# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard does not start a service before the memory that it needs is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import refusal
from ansible_collections.dgxspark.vllm.roles.vllm.files import guard
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Memory, Service
from guarded import meminfo, release

GIB = 1024**3


def test_a_start_without_a_need_waits_for_nothing(service: Service, proc: Path, programs: Path) -> None:
    meminfo(proc, free=0, available=0)
    assert guard.prepare(service, proc) == 0
    assert len(service.starts()) == 1


def test_too_little_memory_is_said_with_who_holds_it_and_is_no_try(
    service: Service, proc: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release(service, "one", needed_bytes=112 * GIB, wait_seconds=0)
    assert guard.prepare(service, proc) == 1
    assert not service.is_unanswered()
    said = capsys.readouterr().out
    assert said == (
        "<3>not started: 112.0 GiB of memory are needed, 110.0 GiB are available after 0 s; most is held by"
        " VLLM::EngineCor (pid 812) 69.0 GiB, middle (pid 9) 2.0 GiB\n"
    )
    cause = refusal(said.removeprefix("<3>"))
    assert cause is not None
    assert cause.id == "start_memory"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("- --gpu-memory-utilization\n- '0.9'\n", "vllm_gpu_memory_utilization"),
        ("- --kv-cache-memory-bytes\n- '4294967296000'\n", "kv_cache_memory_bytes in vllm_extra_args"),
    ],
)
def test_memory_that_the_host_does_not_have_is_not_waited_for(
    service: Service, proc: Path, programs: Path, capsys: pytest.CaptureFixture[str], command: str, what: str
) -> None:
    release(service, "one", needed_bytes=4002 * GIB)  # it would wait for two minutes
    (service.current / "compose.yaml").write_text(command)
    assert guard.prepare(service, proc) == 1
    said = capsys.readouterr().out
    assert said == (
        f"<3>not started: 4002.0 GiB of memory are needed, more than the 120.0 GiB of the host; {what} asks for it\n"
    )
    cause = refusal(said.removeprefix("<3>"))
    assert cause is not None
    assert cause.id == "start_memory_never"
    assert cause.remedy.startswith(f"lower {what} and deploy")


def test_who_holds_little_is_not_named(proc: Path) -> None:
    for pid in (9, 812):
        (proc / str(pid) / "status").write_text("VmRSS:\t100 kB\n")
    assert guard.holders(proc, "") == "no one that can be seen with 1 GiB or more"


def test_it_waits_until_the_memory_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([Memory(1, 10), Memory(1, 40), Memory(1, 100)])
    assert guard.wait_for_memory(90, 60, lambda: next(looks)).available == 100
    assert capsys.readouterr().out.count("waiting") == 1


@pytest.mark.parametrize(
    ("free", "available", "needed", "drops"),
    [
        (60, 110, 100, True),  # enough, but in the page cache
        (105, 110, 100, False),  # enough is free
        (99, 99.5, 100, False),  # nothing to be had from the page cache
        (60, 110, 0, True),  # nobody knows how much is enough
    ],
)
def test_the_page_cache_is_dropped_when_it_helps(free: float, available: float, needed: int, drops: bool) -> None:
    assert guard.should_drop(Memory(int(free * GIB), int(available * GIB)), needed * GIB) is drops


def test_the_page_cache_is_dropped_only_on_request(service: Service, proc: Path, programs: Path) -> None:
    drop = proc / "sys" / "vm" / "drop_caches"
    release(service, "one", needed_bytes=105 * GIB)
    assert guard.prepare(service, proc) == 0
    assert not drop.exists()
    release(service, "one", needed_bytes=105 * GIB, drop_page_cache=True)
    assert guard.prepare(service, proc) == 0
    assert drop.read_text() == "3"
