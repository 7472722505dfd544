# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module against stand-ins of the commands: scripts on PATH that print the fixtures."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import daemon_json, reading
from ansible_collections.dgxspark.vllm.plugins.modules import spark_info

FIXTURES = Path(__file__).parents[3] / "fixtures" / "spark"

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(**options: t.Any) -> dict[str, t.Any]:
        with patch_module_args(options), pytest.raises(SystemExit):
            spark_info.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(name="commands")
def _commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing but `timeout` on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "timeout").symlink_to(shutil.which("timeout") or "")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncd {FIXTURES}\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(0o755)


def a_whole_spark(folder: Path) -> None:
    command(
        folder,
        "nvidia-smi",
        'case "$1" in --query-gpu=vbios_version) echo 9A.0B.2D.00.00;; --query-gpu=*) cat nvidia-smi-busy.csv;;'
        ' "") cat nvidia-smi-banner-580.txt;; *) exit 2;; esac',
    )
    command(folder, "docker", 'case "$1" in info) cat docker-info.json;; ps) cat docker-ps.txt;; *) exit 2;; esac')
    command(
        folder,
        "nvidia-ctk",
        'case "$1" in --version) cat nvidia-ctk-version.txt;; cdi) cat nvidia-ctk-cdi-list.txt;; *) exit 2;; esac',
    )
    command(folder, "dpkg-query", "cat dpkg-query.txt; exit 1")  # 1: some of the packages are unknown to it


def test_a_whole_spark(commands: Path, run: Run) -> None:
    a_whole_spark(commands)
    result = run(port=8000, paths=["/", "/nowhere/yet"])
    assert result["changed"] is False
    spark = result["spark"]
    assert spark["is_spark"] is True
    assert spark["reasons"][0] == "the GPU is NVIDIA GB10"
    assert (spark["gpu"]["driver"], spark["gpu"]["cuda"], spark["gpu_error"]) == ("580.95.05", "13.0", None)
    assert spark["throttle"] == {"throttled": False, "reason": "SM clock 2418 MHz at 96 % load"}
    assert (spark["docker"]["compose"], spark["docker"]["error"]) == ("2.39.1", None)
    assert spark["toolkit"]["version"] == "1.19.0"
    assert spark["toolkit"]["ctk_path"] == str(commands / "nvidia-ctk")
    assert "nvidia.com/gpu=all" in spark["toolkit"]["cdi_devices"]
    assert spark["packages"]["nvidia-container-toolkit"] == "1.19.0-1"
    assert spark["listener"]["container"] == "vllm-qwen3-8b-fp8"
    assert spark["memory"]["total_bytes"] > 0
    assert spark["low_memory"]["low"] is (spark["memory"]["available_bytes"] < 3 * 1024**3)
    assert spark["firmware"]["vbios"] == "9A.0B.2D.00.00"
    assert set(spark["filesystems"]) == {"/", "/nowhere/yet"}


def test_daemon_json_is_shown_without_passwords(
    commands: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, note = tmp_path / "daemon.json", tmp_path / "note.json"
    path.write_text('{"proxies": {"http-proxy": "http://corp:S3cretPassw0rd@proxy.corp:3128"}, "mtu": 1400}')
    monkeypatch.setattr(daemon_json, "PATH", str(path))
    monkeypatch.setattr(daemon_json, "NOTE", str(note))
    spark = run()["spark"]
    assert spark["daemon_json"] == {"proxies": {"http-proxy": "http://********@proxy.corp:3128"}, "mtu": 1400}
    assert spark["daemon_json_pending"] is False
    note.touch()
    assert run()["spark"]["daemon_json_pending"] is True


def test_a_host_with_nothing_installed(commands: Path, run: Run) -> None:
    spark = run()["spark"]
    assert spark["is_spark"] is False
    assert (spark["gpu"], spark["gpu_error"]) == (None, "nvidia-smi is not installed")
    assert (spark["docker"], spark["toolkit"], spark["listener"]) == (None, None, None)
    assert set(spark["packages"].values()) == {None}
    assert spark["throttle"]["throttled"] is None
    assert spark["architecture"] and spark["hostname"] and spark["os"]["kernel"]


def test_a_driver_that_does_not_know_the_vbios_still_answers_the_rest(commands: Path, run: Run) -> None:
    script = 'case "$1" in *vbios*) echo "Field \\"vbios_version\\" is not a valid field to query."; exit 2;; esac'
    command(commands, "nvidia-smi", f"{script}; cat nvidia-smi-busy.csv")
    spark = run()["spark"]
    assert spark["gpu"]["sm_clock_mhz"] == 2418
    assert "vbios" not in spark["firmware"]


def test_a_broken_driver_is_named(commands: Path, run: Run) -> None:
    command(commands, "nvidia-smi", "cat nvidia-smi-failed.txt; exit 9")
    spark = run()["spark"]
    assert spark["gpu"] is None
    assert spark["gpu_error"].startswith("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver")


@pytest.mark.parametrize("code", [0, 1])  # Docker 26, Docker 28
def test_a_daemon_that_is_down(code: int, commands: Path, run: Run) -> None:
    complaint = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    command(commands, "docker", f"cat docker-info-no-daemon.json; echo '{complaint}' >&2; exit {code}")
    docker = run(port=8000)["spark"]["docker"]
    assert (docker["running"], docker["client"], docker["server"]) == (False, "28.2.2", None)
    assert docker["error"] == complaint


def test_a_daemon_that_hangs_does_not_hang_us(commands: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TIMEOUT_SECONDS", 3)
    command(
        commands,
        "docker",
        'case "$1" in info) sleep 600;; --version) echo "Docker version 28.2.2, build 1";; compose) echo 2.39.1;; esac',
    )
    start = time.monotonic()
    docker = run()["spark"]["docker"]
    assert time.monotonic() - start < 300  # half of its sleep
    assert (docker["running"], docker["client"], docker["compose"]) == (False, "28.2.2", "2.39.1")
    assert docker["error"] == "docker did not answer within 3 s"


def test_the_configuration(commands: Path, run: Run, tmp_path: Path) -> None:
    command(
        commands,
        "systemctl",
        '[ "$3 $4 $5" = "-- a.service b.service" ] || exit 2\n'
        'printf "Id=a.service\\nNames=a.service\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n'
        "NeedDaemonReload=no\\n\\nId=b.service\\nNames=b.service\\nLoadState=not-found\\nActiveState=inactive\\n"
        'UnitFileState=\\nNeedDaemonReload=no\\n"',
    )
    (tmp_path / "file").write_text("a=1\n")
    spark = run(
        files=[str(tmp_path / "file"), str(tmp_path / "gone")],
        sysctl=["kernel.ostype", "no.such"],
        units=["a.service", "b.service"],
        commands=["systemctl", "no-such-command"],
    )["spark"]
    assert spark["files"][str(tmp_path / "file")]["content"] == "a=1\n"
    assert spark["files"][str(tmp_path / "gone")]["type"] == "absent"
    assert spark["sysctl"] == {"kernel.ostype": "Linux", "no.such": None}
    assert spark["units"]["a.service"]["unit_file_state"] == "enabled"
    assert spark["units"]["b.service"]["load_state"] == "not-found"
    assert spark["commands"] == {"systemctl": str(commands / "systemctl"), "no-such-command": None}


def test_no_configuration_is_read_unasked(commands: Path, run: Run) -> None:
    spark = run()["spark"]
    assert [spark[name] for name in ("files", "sysctl", "units", "commands")] == [{}, {}, {}, {}]
    assert run(units=["a.service"])["spark"]["units"] == {}  # there is no systemctl


def test_garbage_everywhere(commands: Path, run: Run) -> None:
    for name in ("nvidia-smi", "docker", "nvidia-ctk", "dpkg-query"):
        command(commands, name, r"printf '\377\376garbage\n\000{'; exit 3")
    spark = run(port=8000)["spark"]
    assert (spark["gpu"], spark["docker"]["running"], spark["toolkit"]["cdi_devices"]) == (None, False, [])


def test_a_listener_that_is_no_container(commands: Path, run: Run) -> None:
    a_whole_spark(commands)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        listener = run(port=port)["spark"]["listener"]
        assert listener == {
            "port": port,
            "pid": os.getpid(),
            "process": Path("/proc/self/comm").read_text().strip(),
            "container": None,
        }
    assert run(port=port)["spark"]["listener"] is None


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_out_of_range(port: int, run: Run) -> None:
    result = run(port=port)
    assert result["failed"] is True
    assert result["msg"] == f"port: {port} is not allowed; use a TCP port from 1 to 65535"


def test_check_mode(commands: Path, run: Run) -> None:
    assert run(_ansible_check_mode=True)["changed"] is False
