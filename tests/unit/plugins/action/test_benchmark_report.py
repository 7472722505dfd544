# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: one table, one file and one plot for each host, and the hosts that are worse than before."""

from __future__ import annotations

import itertools
import json
import typing as t
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible_collections.dgxspark.vllm.plugins.action import benchmark_report
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark import plot

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

State = dict[str, t.Any]
SERVER = {"service": "vllm", "model": "Qwen/Qwen3-8B-FP8", "profile": "throughput", "options": [], "gpu": None}
CLAIMS = {"Qwen/Qwen3-8B-FP8": [{"concurrency": 1, "low": 9, "high": 10, "source": "the guide"}]}


def result(speed: float = 20.0, **changes: t.Any) -> State:
    cell = {"name": "c1", "concurrency": 1, "prompts": 3, "input_tokens": 8, "output_tokens": 8, "prefix_tokens": 0}
    runs = [
        {
            "cell": cell,
            "repetition": number,
            "problem": None,
            "result": {"output_throughput": rate, "median_tpot_ms": 1000 / rate, "median_ttft_ms": 2000 / rate},
            "settled": {"idle": True, "cool": True},
            "gpu_during": None,
            "server": {"others": False, "preemptions": 0},
        }
        for number, rate in enumerate((speed * 0.99, speed, speed * 1.01), 1)
    ]
    return {"complete": True, "reason": None, "runs": runs, "too_long": {}, "not_run": [], "server": SERVER, **changes}


class Report:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "benchmarks"
        self.shown: list[str] = []
        self.task = SimpleNamespace(async_val=0, check_mode=False, no_log=False, args={})
        seconds = itertools.count(1)
        clock = SimpleNamespace(
            gmtime=lambda: None, strftime=lambda _form, _now: f"2026-11-28T18:00:{next(seconds):02d}Z"
        )
        monkeypatch.setattr(benchmark_report, "time", clock)
        monkeypatch.setattr(benchmark_report, "is_wanted_on_screen", lambda: True)
        # what is in a plot is tested where it is drawn; here it would take half a second each
        monkeypatch.setattr(plot, "draw", lambda _record, _claims: "<svg/>")
        monkeypatch.setattr(benchmark_report.display, "display", self.shown.append)

    def __call__(self, results: State, **options: t.Any) -> State:
        self.task.args = {
            "hosts": list(results),
            "results": results,
            "mode": "quick",
            "folder": str(self.folder),
            "claims": CLAIMS,
            **options,
        }
        made = [MagicMock() for _number in range(5)]
        names = ("connection", "play_context", "loader", "templar", "shared_loader_obj")
        action = benchmark_report.ActionModule(task=self.task, **dict(zip(names, made, strict=True)))
        return action.run(task_vars={})

    @property
    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    return Report(tmp_path, monkeypatch)


def test_a_file_and_a_plot_for_each_host(report: Report) -> None:
    results = {"a": result(), "b": result(10), "c": {"msg": "service vllm does not run on this host"}}
    found = report(results, models={"b": {"qwen3-8b-fp8": {"tokens_per_second": 25.5}}})
    assert report.files == [f"{host}/2026-11-28T18-00-01Z-quick.{end}" for host in "ab" for end in ("json", "svg")]
    assert found["unhealthy"] == {"c": "service vllm does not run on this host"}
    assert "c | not measured: service vllm does not run on this host" in report.shown[0]
    assert "claimed at concurrency 1: 9 to 10 tokens/s (the guide)" in report.shown[0]
    assert [made["published"] for made in found["records"]] == [None, 25.5]  # from the host's own models
    stored = json.loads((report.folder / "a" / "2026-11-28T18-00-01Z-quick.json").read_text())
    assert stored == found["records"][0]


def test_a_repeat_is_fine_and_half_the_speed_is_not(report: Report) -> None:
    assert report({"a": result()})["unhealthy"] == {}
    assert report({"a": result(20.2)})["unhealthy"] == {}
    assert report({"a": result(10)})["unhealthy"] == {"a": "slower than before, beyond noise: c1"}
    assert "regression: tokens/s 20.1 -> 10.0" in report.shown[-1]
    assert report({"a": result(10.1)})["unhealthy"]  # still: a regression is no new normal
    assert report({"a": result(20)})["unhealthy"] == {}


def test_what_is_not_complete(report: Report) -> None:
    found = report({"a": result(complete=False, reason="the time is up: 60 s (timeout)", not_run=["c8"])})
    assert found["unhealthy"] == {"a": "not complete: the time is up: 60 s (timeout)"}
    assert len(report.files) == 2


def test_check_mode_says_what_would_be_measured(report: Report) -> None:
    report.task.check_mode = True
    found = report({"a": result(complete=False, runs=[], not_run=["c1", "c8"], too_long={"long": "needs 9 tokens"})})
    assert found["unhealthy"] == {}
    assert "would be measured: c1, c8; long is skipped: it needs 9 tokens" in report.shown[0]
    assert not report.folder.exists()


def test_an_export(report: Report) -> None:
    report({"a": result()}, export=True, spark={"a": {"is_spark": True, "gpu": {"driver": "580.142"}}})
    assert "tokens_per_second: 20.0\n" in report.shown[0]
    assert "M: own run of 2026-11-28, one stream on one Spark" in report.shown[0]


def test_without_matplotlib_the_rest_is_there(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_args: t.Any) -> str:
        raise plot.MissingLibrary(plot.MISSING)

    monkeypatch.setattr(plot, "draw", missing)
    assert report({"a": result(), "b": result()})["unhealthy"] == {}
    assert report.shown[0].count("pip install matplotlib") == 1
    assert [name.rpartition(".")[2] for name in report.files] == ["json", "json"]


def test_a_folder_that_cannot_be_written(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = report({"a": result()}, folder=str(tmp_path / "file"))
    assert found["msg"] == f"benchmark_folder: {tmp_path / 'file'}/a: Not a directory"
    assert "20.0" in report.shown[0]  # what was measured is not lost


def test_the_playbook_refuses_in_one_line_and_shows_every_host(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    """One host without a service, and one that cannot be reached."""
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}
    here = {**THIS_MACHINE, "ansible_become": False, "vllm_service_name": "vllm-none"}
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"spark": {"hosts": {"here": here, "gone": gone}}}))
    run = ansible_playbook(
        ROOT / "playbooks" / "benchmark.yml", inventory=inventory, folder=tmp_path, spark_host_allow_other_hardware=True
    )
    assert run.code == 2, run.output
    assert "here | not measured: " in run.output
    assert "gone | not measured: " in run.output
    assert run.count("here", "failed") == 1
    assert run.count("here", "changed") == 0
    assert not (tmp_path / "benchmarks").exists()
