# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporter of the role monitoring: what it writes of a host, of an empty one, and with programs that hang."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.roles.monitoring.files import exporter
from on_the_host import code, installed, lacking

from support.promtool import promtool

BOOT = "boot-1"
RELEASE = "0123456789ab"
NO_MEMORY = "NVRM: nvAssertOkFailedNoLog: Out of memory [NV_ERR_NO_MEMORY] (0x00000051)"
SYSTEMCTL = "printf 'LoadState=loaded\\nActiveState=active\\nExecMainStartTimestamp=@1795000000\\n'"
NVIDIA_SMI = "echo 'NVIDIA GB10, 580.142, 95, 71, 62.4, 2411'"


def program(folder: Path, name: str, script: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / name).chmod(0o755)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a service, settings that name it, and programs."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    program(tmp_path, "nvidia-smi", NVIDIA_SMI)
    program(tmp_path, "systemctl", SYSTEMCTL)
    release = tmp_path / "vllm" / "releases" / RELEASE
    release.mkdir(parents=True)
    facts = {"model": "Qwen/Qwen3-8B-FP8", "image": "nvcr.io/nvidia/vllm:25.09-py3", "profile": "throughput"}
    (release / "release.json").write_text(json.dumps(facts))
    (tmp_path / "vllm" / "current").symlink_to(f"releases/{RELEASE}")
    (tmp_path / "vllm" / "state").mkdir()
    settings = {"service": "vllm", "home": f"{tmp_path}/vllm", "hf_cache": str(tmp_path)}
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "vllm.json").write_text(json.dumps(settings))
    return tmp_path


def look(host: Path, **entry: Any) -> None:
    entry = {"verdict": "answers", "time": 100.0, "boot": BOOT, "running": [RELEASE], **entry}
    (host / "vllm" / "state" / "look.json").write_text(json.dumps(entry))


def page(host: Path, state: dict[str, Any] | None = None, now: float = 130.0) -> str:
    return exporter.collect(host / "settings", state if state is not None else {}, now, BOOT).text()


def test_a_host_that_serves(host: Path) -> None:
    look(host)
    text = page(host)
    for line in (
        'dgxspark_gpu_info{driver="580.142",loaded="",name="NVIDIA GB10"} 1',
        "dgxspark_gpu_utilization_ratio 0.95",
        "dgxspark_gpu_sm_clock_hertz 2411000000",
        "dgxspark_gpu_temperature_celsius 71",
        "dgxspark_gpu_power_watts 62.4",
        'dgxspark_exporter_part_up{part="gpu"} 1',
        'dgxspark_exporter_part_up{part="service vllm"} 1',
        'dgxspark_vllm_info{image="nvcr.io/nvidia/vllm:25.09-py3",model="Qwen/Qwen3-8B-FP8",profile="throughput"'
        f',release="{RELEASE}",service="vllm"}} 1',
        'dgxspark_vllm_unit_active{service="vllm"} 1',
        'dgxspark_vllm_start_time_seconds{service="vllm"} 1795000000',
        'dgxspark_vllm_unanswered_starts{service="vllm"} 0',
        'dgxspark_vllm_canary{service="vllm",verdict="answers"} 1',
        'dgxspark_vllm_canary{service="vllm",verdict="silent"} 0',
        'dgxspark_vllm_release_drift{service="vllm"} 0',
    ):
        assert f"{line}\n" in text
    assert f'dgxspark_hf_cache_free_bytes{{path="{host}"}} ' in text
    checked = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_frozen_engine_and_another_release(host: Path) -> None:
    look(host, verdict="silent", running=["ba9876543210"])
    (host / "vllm" / "state" / "watchdog.json").write_text(json.dumps({"restarts": [1.0, 2.0]}))
    text = page(host)
    assert 'dgxspark_vllm_canary{service="vllm",verdict="silent"} 1\n' in text
    assert 'dgxspark_vllm_release_drift{service="vllm"} 1\n' in text
    assert 'dgxspark_vllm_watchdog_restarts{service="vllm"} 2\n' in text


def test_starts_without_an_answer_are_those_of_the_current_release(host: Path) -> None:
    tries = host / "vllm" / "state" / "tries.json"
    tries.write_text(json.dumps({"release": RELEASE, "starts": [{}, {}]}))
    assert 'dgxspark_vllm_unanswered_starts{service="vllm"} 2\n' in page(host)
    tries.write_text(json.dumps({"release": "another", "starts": [{}, {}]}))
    assert 'dgxspark_vllm_unanswered_starts{service="vllm"} 0\n' in page(host)


@pytest.mark.parametrize("entry", [{"time": -500.0}, {"boot": "boot-0"}, {"time": "soon"}, {"time": 500.0}])
def test_an_old_look_says_nothing(host: Path, entry: dict[str, Any]) -> None:
    look(host, **entry)
    assert "dgxspark_vllm_canary" not in page(host)


GROUP = """
case "$*" in
  *list-unit-files*) printf 'vllm.service disabled enabled\\nvllm-b.service disabled enabled\\n' ;;
  *Id,ActiveState*) printf 'Id=vllm.service\\nActiveState=inactive\\n\\n'
    printf 'Id=vllm-b.service\\nActiveState=%s\\n' "$STATE" ;;
  *) printf 'LoadState=loaded\\nActiveState=inactive\\nConflicts=shutdown.target vllm-b.service\\n' ;;
esac
"""


@pytest.mark.parametrize(("state", "waits"), [("active", 1), ("inactive", 0)])
def test_a_service_that_waits_for_its_turn(host: Path, state: str, waits: int) -> None:
    assert "dgxspark_vllm_waiting" not in page(host)  # without a group
    program(host, "systemctl", f"STATE={state}{GROUP}")
    assert f'dgxspark_vllm_waiting{{service="vllm"}} {waits}\n' in page(host)


def test_a_host_where_nothing_answers(host: Path) -> None:
    for name in ("nvidia-smi", "systemctl"):
        program(host, name, "echo broken; exit 9")
    (host / "vllm" / "current").unlink()
    text = page(host)
    assert 'dgxspark_exporter_part_up{part="gpu"} 0\n' in text
    assert 'dgxspark_exporter_part_up{part="service vllm"} 0\n' in text
    assert "dgxspark_gpu_" not in text
    assert "dgxspark_exporter_last_run_timestamp_seconds" in text


def test_a_driver_that_was_updated_without_a_reboot(host: Path) -> None:
    program(host, "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    version = host / "version"
    version.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build\n")
    found = exporter.Page()
    assert not exporter.gpu(found, exporter.Programs({}), version)
    assert 'dgxspark_gpu_info{driver="",loaded="580.95.05",name=""} 1\n' in found.text()


def test_a_program_that_hangs_is_ended(host: Path) -> None:
    program(host, "hangs", "exec sleep 600")
    programs = exporter.Programs({})
    assert programs.run("hangs", timeout=0.2) is None
    assert programs.stuck == {}


def test_one_that_cannot_be_ended_has_no_second(tmp_path: Path) -> None:
    """It waits in the kernel for a driver. Once it is gone, or its number another program's, there is a new one."""
    for pid, name in ((7, "true"), (8, "other")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    programs = exporter.Programs({"true": 7, "echo": 8, "gone": 9}, tmp_path)
    assert programs.stuck == {"true": 7}
    assert programs.run("true") is None
    assert programs.run("echo", "x") == "x\n"


def records(*texts: str, first: int = 0) -> list[bytes]:
    return [f"4,{number},1000,-;{text}\n".encode() for number, text in enumerate(texts, first)]


class Kmsg:
    """os.read() of /dev/kmsg: one record at a time, then EAGAIN; an overwritten one is EPIPE."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: list[bytes | None]) -> None:
        self.left: list[bytes | None] = []
        self.log = log
        monkeypatch.setattr(exporter.os, "open", self.open)
        monkeypatch.setattr(exporter.os, "read", self.read)
        monkeypatch.setattr(exporter.os, "close", lambda descriptor: None)

    def open(self, path: str, flags: int) -> int:
        assert flags & os.O_NONBLOCK
        self.left = list(self.log)
        return 99

    def read(self, descriptor: int, size: int) -> bytes:
        if not self.left:
            raise BlockingIOError
        record = self.left.pop(0)
        if record is None:
            raise OSError(exporter.errno.EPIPE, "overwritten")
        return record


def test_lines_of_the_kernel_log_count_once_and_begin_anew_with_a_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[bytes | None] = [None, *records("eth0: link up", NO_MEMORY, NO_MEMORY)]
    kmsg = Kmsg(monkeypatch, log)
    state: dict[str, Any] = {}

    def total(boot: str) -> str:
        found = exporter.Page()
        assert exporter.kernel_log(found, state, boot)
        return found.samples["nv_err_no_memory_total"][0].split(" ")[1]

    assert total("one") == "2"
    assert total("one") == "2"
    kmsg.log += records(NO_MEMORY, "eth0: link down", first=3)
    assert total("one") == "3"
    kmsg.log[:] = records(NO_MEMORY)
    assert total("two") == "1"


def test_a_kernel_log_that_cannot_be_read(tmp_path: Path) -> None:
    found = exporter.Page()
    assert not exporter.kernel_log(found, {}, BOOT, str(tmp_path / "kmsg"))
    assert found.text() == ""


def test_labels_are_escaped() -> None:
    found = exporter.Page()
    found.add("gpu_info", 1, name='a "b"\\\n')
    assert 'dgxspark_gpu_info{name="a \\"b\\"\\\\\\n"} 1\n' in found.text()


def test_as_the_unit_runs_it(host: Path) -> None:
    """With what the module host_code copies, and nothing else; the file is replaced as a whole."""
    contents = code("monitoring", "__monitoring_exporter_code")
    assert lacking(contents) == set()
    state = host / "state"
    state.mkdir()
    command = [*installed(contents, host), "exporter", str(host / "settings"), str(state)]
    begin = time.time()
    for _run in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    text = (state / "dgxspark.prom").read_text()
    assert 'dgxspark_vllm_unit_active{service="vllm"} 1\n' in text
    last = re.search(r"^dgxspark_exporter_last_run_timestamp_seconds (\d+)$", text, re.MULTILINE)
    assert last
    assert int(last[1]) >= int(begin)
    assert sorted(path.name for path in state.iterdir()) == ["dgxspark.prom", "state.json"]
