# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import machine
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import condition
from hypothesis import given
from hypothesis import strategies as st

NVRM = "kernel: NVRM: nvCheckOkFailedNoLog: Check failed: Out of memory [NV_ERR_NO_MEMORY] (0x00000051)"
OOM = (
    "1764310000.5 spark01 kernel: Out of memory: Killed process 4711 (VLLM::EngineCor) total-vm:99kB,"
    " anon-rss:104857600kB, file-rss:0kB, oom_score_adj:0"
)
OTHER = "1764310001.5 spark01 kernel: Out of memory: Killed process 99 (firefox) total-vm:9kB, anon-rss:1048576kB"
EARLYOOM = 'sending SIGTERM to process 812 uid 0 "VLLM::Worker": badness 901, VmRSS 81920 MiB, cmdline "VLLM::Worker"'
XID = "1764310000.5 spark01 kernel: NVRM: Xid (PCI:000f:01:00): 31, pid=4711, name=VLLM, MMU Fault"


def burst(number: int, every: float, form: str = "{:.6f} spark01 ") -> str:
    return "".join(f"{form.format(1764310000 + count * every)}{NVRM}\n" for count in range(number))


@pytest.mark.parametrize(
    ("log", "dangerous"),
    [
        (burst(5, 10), True),
        (burst(5, 10, "[{:12.6f}] "), True),
        (burst(4, 1), False),
        (burst(20, 30), False),  # noise: three in a minute
        (burst(4, 30) + burst(6, 5), True),
        (f"{NVRM}\n" * 50, False),  # without a time there is no rate
        ("", False),
    ],
)
def test_only_a_rate_of_failed_allocations_is_dangerous(log: str, dangerous: bool) -> None:
    assert bool(machine.no_memory_burst(log)) == dangerous
    assert ("machine_memory" in [shown.cause.id for shown in machine.look(log)]) == dangerous


def test_victims_by_name() -> None:
    (victim,) = machine.victims(OOM)
    assert (victim.pid, victim.name, victim.gib, victim.is_vllm) == (4711, "VLLM::EngineCor", 100.0, True)
    (victim,) = machine.earlyoom_victims(EARLYOOM)
    assert (victim.pid, victim.name, victim.gib, victim.is_vllm) == (812, "VLLM::Worker", 80.0, True)
    assert machine.victims("Killed process by hand") == []


def test_a_victim_of_vllm_is_told_before_others() -> None:
    (shown,) = machine.look(f"{OOM}\n{OTHER}\n")
    assert "VLLM::EngineCor (pid 4711) with 100.0 GiB" in shown.cause.meaning
    (shown,) = machine.look(OTHER)
    assert (shown.is_vllm, "firefox" in shown.cause.meaning) == (False, True)


def test_xids() -> None:
    assert [number for number, _line in machine.xids(f"{XID}\n{XID.replace(': 31,', ': 13,')}")] == [13, 31]
    assert machine.xids("NVRM: loading NVIDIA UNIX Open Kernel Module 580.95") == []


@pytest.mark.parametrize(
    ("zones", "hot"),
    [({"a": 87.9}, None), ({"a": 60.0, "b": 88.0}, ("b", 88.0)), ({}, None), ({"a": 93.5}, ("a", 93.5))],
)
def test_heat(zones: dict[str, float], hot: tuple[str, float] | None) -> None:
    assert machine.hottest(zones) == hot
    assert [shown.cause.id for shown in machine.look(zones=zones)] == (["machine_hot"] if hot else [])


def test_a_driver_that_was_updated() -> None:
    log = "NVRM: API mismatch: the client has the version 580.142, but this kernel module has the version 580.95."
    assert [shown.cause.id for shown in machine.look(log)] == ["machine_nvml"]


def test_nothing_is_well() -> None:
    assert machine.look("1764310000.5 spark01 kernel: eth0: link up\n", "mem avail: 60 of 121 GiB", {"cpu": 50.0}) == []


@pytest.mark.parametrize(
    ("cause", "log", "earlyoom", "words"),
    [
        ("killed", OOM, "", "VLLM::EngineCor (pid 4711)"),
        ("exited_after_ready", "", EARLYOOM, "VLLM::Worker (pid 812)"),
        ("crashed", XID, "", "Xid"),
        ("killed", burst(6, 5), "", "NV_ERR_NO_MEMORY"),
    ],
)
def test_the_machine_explains_an_end(cause: str, log: str, earlyoom: str, words: str) -> None:
    found = machine.explain(condition(cause, "exit code 137"), machine.look(log, earlyoom))
    assert found.id == cause
    assert words in found.meaning
    assert found.family == "machine"
    assert found.evidence != "exit code 137"


@pytest.mark.parametrize(
    ("cause", "log"), [("killed", OTHER), ("stopped", OOM), ("wrong_model", XID), ("crashed", OOM), ("killed", "")]
)
def test_the_machine_does_not_explain_what_it_has_no_part_in(cause: str, log: str) -> None:
    before = condition(cause, "x")
    assert machine.explain(before, machine.look(log)) == before


@given(st.text(max_size=300), st.text(max_size=300), st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False)))
def test_no_log_makes_it_raise(kernel: str, earlyoom: str, zones: dict[str, float]) -> None:
    machine.look(kernel, earlyoom, zones)
    machine.look(f"{kernel} {OOM} {XID} {NVRM}\n", f"{earlyoom}{EARLYOOM}")
