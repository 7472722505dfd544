# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.lines import MAX_TEXT
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_log_info

ROOT = Path(__file__).parents[4]
CASES = ROOT / "tests" / "fixtures" / "vllm" / "cases"
HEALTHY = ROOT / "tests" / "fixtures" / "vllm" / "0.32" / "startup_ok.log"


class Answer(Exception):
    pass


def run(monkeypatch: pytest.MonkeyPatch, **options: t.Any) -> dict[str, t.Any]:
    """The module in this process; what it exits or fails with."""

    def leave(_module: t.Any, **result: t.Any) -> None:
        raise Answer(result)

    arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False}}
    monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_ARGS", json.dumps(arguments).encode())
    monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_PROFILE", "legacy", raising=False)
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.exit_json", leave)
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.fail_json", leave)
    with pytest.raises(Answer) as found:
        vllm_log_info.main()
    result: dict[str, t.Any] = found.value.args[0]
    return result


def test_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, path=str(CASES / "n28-deepgemm-unsupported.log"), exit_code=1)
    assert (found["changed"], found["verdict"], found["phase"]) == (False, "failed", "container")
    cause = found["cause"]
    assert (cause["id"], cause["family"], cause["certain"]) == ("deep_gemm", "kernel", True)
    assert cause["sets"] == {"vllm_extra_env": {"VLLM_USE_DEEP_GEMM": "0"}}
    assert "VLLM_USE_DEEP_GEMM: 0" in cause["remedy"]
    assert "Unsupported architecture" in cause["evidence"]


@pytest.mark.parametrize(
    ("name", "options", "verdict", "cause"),
    [
        ("n21-docker-nvml-mismatch", {"source": "docker"}, "failed", "nvml_mismatch"),
        ("n23-docker-layer-disk-full", {"source": "journal"}, "failed", "docker_disk_full"),
        ("n15-ray-placement-group", {"running": True}, "loading", None),
        ("n15-ray-placement-group", {"running": True, "idle_seconds": 900}, "stuck", "ray_placement"),
        ("p4-request-error-health-500", {"running": True}, "ready", None),
        ("p1-request-error-then-stop", {"exit_code": 1}, "failed", "stopped"),
        ("n48-engine-vanished", {}, "failed", "engine_killed"),
    ],
)
def test_what_is_known_of_the_end(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, t.Any], verdict: str, cause: str | None
) -> None:
    found = run(monkeypatch, content=(CASES / f"{name}.log").read_text(), **options)
    assert (found["verdict"], found["cause"]["id"] if found["cause"] else None) == (verdict, cause)


@pytest.mark.parametrize(
    ("options", "verdict", "cause"),
    [
        ({}, "failed", "stopped"),
        ({"exit_code": 137}, "failed", "stopped"),
    ],
)
def test_a_healthy_log(monkeypatch: pytest.MonkeyPatch, options: dict[str, t.Any], verdict: str, cause: str) -> None:
    found = run(monkeypatch, path=str(HEALTHY), **options)
    assert (found["verdict"], found["cause"]["id"], found["vllm_version"]) == (verdict, cause, "0.32.0")


def test_a_healthy_log_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEALTHY.read_text()
    loading, serving = text[: text.index("init engine")], text[: text.index("[shutdown]")]
    assert run(monkeypatch, content=loading)["verdict"] == "loading"
    assert run(monkeypatch, content=serving)["verdict"] == "ready"
    found = run(monkeypatch, content=loading, exit_code=139)
    assert (found["verdict"], found["cause"]["id"], found["cause"]["family"]) == ("failed", "crashed", "kernel")


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, path="/no/such.log")["msg"] == "path: cannot read /no/such.log: No such file or directory"


def test_a_huge_file_keeps_its_end(tmp_path: Path) -> None:
    file = tmp_path / "huge.log"
    file.write_bytes(b"\xff begin\n" + b"x" * (5 * MAX_TEXT) + b"\nRuntimeError: Error Internal\n")
    text = vllm_log_info.read(str(file))
    assert len(text) < 4 * MAX_TEXT + 100
    assert text.startswith("\ufffd begin")
    assert text.endswith("Error Internal\n")


def test_on_the_command_line(tmp_path: Path) -> None:
    """As the documentation names it: a file in the current folder, without an inventory."""
    (tmp_path / "start.log").write_text((CASES / "n27-nvcc-missing.log").read_text())
    command = [str(Path(sys.executable).parent / "ansible"), "localhost", "-m", "dgxspark.vllm.vllm_log_info"]
    environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_CONFIG": ""}
    done = subprocess.run(
        [*command, "-a", "path=start.log"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert found["cause"]["id"] == "nvcc_missing"
