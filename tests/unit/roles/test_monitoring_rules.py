# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the role monitoring under Prometheus' own `promtool`: each alert fires on bad figures, and is silent on good
ones, for the metric names of vLLM 0.10, 0.24 and 0.32."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pytest
import yaml

from support.paths import ROOT
from support.promtool import promtool

ROLE = ROOT / "roles" / "monitoring"
DEFAULTS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
UNIT = {"host": "spark01", "service": "vllm", "model": "qwen3-8b-fp8"}
WHERE = 'host="spark01",service="vllm"'
SERVED = f'{{{WHERE},model="qwen3-8b-fp8",model_name="Qwen/Qwen3-8B-FP8",engine="0"}}'
SCRAPED = '{host="spark01",job="node"}'
GIB = 1024**3


def rules() -> str:
    """As Ansible renders them: the first line of the template sets other delimiters."""
    header, text = (ROLE / "templates" / "rules.yml.j2").read_text().split("\n", 1)
    assert header == "#jinja2: variable_start_string:'[%', variable_end_string:'%]'"
    environment = jinja2.Environment(
        variable_start_string="[%",
        variable_end_string="%]",
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.from_string(text).render(DEFAULTS)


ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(rules())["groups"] for rule in group["rules"] if "alert" in rule
}


class Case(NamedTuple):
    """Series by name and values, in the notation of promtool; with `bad` the alert fires, with `good` not.

    Values are 15 s apart, in cases that take hours 5 minutes. LABELS are those of the alert, besides its severity.
    """

    alert: str
    at: str
    bad: dict[str, str]
    good: dict[str, str]
    labels: dict[str, str]
    summary: str


def histogram(name: str, fast: float, slow: float, bounds: tuple[str, str, str]) -> dict[str, str]:
    """Requests per sample below the first bound, and between the second and the third."""
    first, second, third = bounds
    series = {first: fast, second: fast, third: fast + slow, "+Inf": fast + slow}
    return {f'{name}_bucket{SERVED[:-1]},le="{le}"}}': f"0+{each}x200" for le, each in series.items()}


def served(metric: str, values: str) -> dict[str, str]:
    return {f"{metric}{SERVED}": values}


def cache(hits: str, queries: str) -> dict[str, str]:
    return {**served("vllm:prefix_cache_hits_total", hits), **served("vllm:prefix_cache_queries_total", queries)}


def drafts(accepted: str, drafted: str) -> dict[str, str]:
    return {
        **served("vllm:spec_decode_num_accepted_tokens_total", accepted),
        **served("vllm:spec_decode_num_draft_tokens_total", drafted),
    }


def disk(free: str) -> dict[str, str]:
    path = '{host="spark01",job="node",path="/opt/hf"}'
    return {f"dgxspark_hf_cache_free_bytes{path}": free, f"dgxspark_hf_cache_size_bytes{path}": "1000+0x2000"}


def driver(first: str, second: str) -> dict[str, str]:
    return {
        f'dgxspark_gpu_info{{host="{host}",job="node",driver="{version}",name="NVIDIA GB10"}}': "1+0x400"
        for host, version in (("spark01", first), ("spark02", second))
    }


def releases(first: str, second: str) -> dict[str, str]:
    labels = 'service="vllm",model="m",profile="throughput",job="node"'
    return {
        f'dgxspark_vllm_info{{host="{host}",release="{release}",image="{release}",{labels}}}': "1+0x400"
        for host, release in (("spark01", first), ("spark02", second))
    }


def start(unanswered: int, active: int) -> dict[str, str]:
    labels = f'{{{WHERE},job="node"}}'
    return {
        f"dgxspark_vllm_unanswered_starts{labels}": f"{unanswered}+0x400",
        f"dgxspark_vllm_unit_active{labels}": f"{active}+0x400",
    }


UP = f'up{{{WHERE},model="qwen3-8b-fp8",job="vllm"}}'
NODE = {"host": "spark01", "job": "node"}
SERVICE = {"host": "spark01", "service": "vllm"}
ON = "vllm on spark01"

CASES = [
    # stopped, or failed for good; not while it starts
    Case("VllmDown", "1m15s", {UP: "1 1 1 0 0 0"}, {UP: "1+0x10"}, {**UNIT, "job": "vllm"}, f"{ON} does not answer"),
    Case(
        "VllmDown",
        "30s",
        {UP: "0+0x400", **start(4, 0)},
        {UP: "0+0x400", **start(1, 1)},
        {**UNIT, "job": "vllm"},
        f"{ON} does not answer",
    ),
    # a service that waits for its turn is as it should be
    Case(
        "VllmDown",
        "1m15s",
        {UP: "1 0 0 0 0 0", f'dgxspark_vllm_waiting{{{WHERE},job="node"}}': "0+0x10"},
        {UP: "0+0x10", f'dgxspark_vllm_waiting{{{WHERE},job="node"}}': "1+0x10"},
        {**UNIT, "job": "vllm"},
        f"{ON} does not answer",
    ),
    Case(
        "VllmStartTooLong", "1h5m", start(1, 1), start(0, 1), {**NODE, **SERVICE}, f"{ON} has been starting for an hour"
    ),
    Case(
        "VllmNoToken",
        "30s",
        {f'dgxspark_vllm_canary{{{WHERE},job="node",verdict="silent"}}': "1+0x10"},
        {
            f'dgxspark_vllm_canary{{{WHERE},job="node",verdict="silent"}}': "0+0x10",
            f'dgxspark_vllm_canary{{{WHERE},job="node",verdict="works"}}': "1+0x10",
        },
        SERVICE,
        f"{ON} generates no token",
    ),
    Case(
        "VllmNoToken",
        "30s",
        {f'dgxspark_vllm_canary{{{WHERE},job="node",verdict="refuses"}}': "1+0x10"},
        {f'dgxspark_vllm_canary{{{WHERE},job="node",verdict="loads"}}': "1+0x10"},
        SERVICE,
        f"{ON} generates no token",
    ),
    Case(
        "VllmRestarts",
        "20m",
        {f'dgxspark_vllm_start_time_seconds{{{WHERE},job="node"}}': "100+0x20 900+0x20 1500+0x60"},
        {f'dgxspark_vllm_start_time_seconds{{{WHERE},job="node"}}': "100+0x20 900+0x100"},  # a deployment
        {**NODE, **SERVICE},
        f"{ON} was started 2 times within 30 minutes",
    ),
    Case(
        "VllmQueueGrowing",
        "20m",
        served("vllm:num_requests_waiting", "1+1x100"),
        served("vllm:num_requests_waiting", "80-1x100"),
        UNIT,
        f"The queue of {ON} has been growing for 15 minutes",
    ),
    *(
        Case(
            "VllmKvCacheFull",
            "20m",
            {**served(f"vllm:{usage}", "0.99+0x100"), **served("vllm:num_preemptions_total", "0+3x100")},
            # full of prefixes that nobody uses now
            {**served(f"vllm:{usage}", "0.99+0x100"), **served("vllm:num_preemptions_total", "7+0x100")},
            UNIT,
            f"The KV cache of {ON} is full, and requests are preempted",
        )
        for usage in ("kv_cache_usage_perc", "gpu_cache_usage_perc")
    ),
    Case(
        "VllmPrefixHitsCollapsed",
        "24h50m",
        cache("0+8000x288 2304500+500x12", "0+10000x300"),
        cache("0+8000x300", "0+10000x300"),
        UNIT,
        f"The prefix cache hit rate of {ON} fell to 5%",
    ),
    Case(
        "VllmDraftAcceptanceCollapsed",
        "24h50m",
        drafts("0+6000x288 1729000+1000x12", "0+10000x300"),
        drafts("0+6000x300", "0+10000x300"),
        UNIT,
        f"The share of accepted draft tokens of {ON} fell to 10%",
    ),
    Case(
        "VllmFirstTokenSlow",
        "20m",
        histogram("vllm:time_to_first_token_seconds", 90, 10, ("1.0", "2.5", "5.0")),
        histogram("vllm:time_to_first_token_seconds", 99, 1, ("1.0", "2.5", "5.0")),
        UNIT,
        f"5 % of the requests to {ON} wait 3.75s for the first token",
    ),
    *(
        Case(
            "VllmTokensSlow",
            "20m",
            histogram(f"vllm:{name}_seconds", 90, 10, ("0.1", "0.2", "0.4")),
            histogram(f"vllm:{name}_seconds", 99, 1, ("0.1", "0.2", "0.4")),
            UNIT,
            f"Tokens of {ON} take up to 300ms",
        )
        for name in ("inter_token_latency", "time_per_output_token")
    ),
    Case(
        "VllmReleaseDrift",
        "6m",
        {f'dgxspark_vllm_release_drift{{{WHERE},job="node"}}': "1+0x100"},
        {f'dgxspark_vllm_release_drift{{{WHERE},job="node"}}': "0+0x100"},
        {**NODE, **SERVICE},
        f"{ON} runs another release than the one that is configured",
    ),
    Case(
        "VllmImageDrift",
        "1h10m",
        releases("a", "b"),
        releases("a", "a"),
        {"service": "vllm", "model": "m", "profile": "throughput"},
        "Hosts serve m with 2 different images",
    ),
    Case(
        "HostDown",
        "4m",
        {f"up{SCRAPED}": "0+0x100"},
        {f"up{SCRAPED}": "1+0x100"},
        NODE,
        "The node exporter of spark01 does not answer",
    ),
    Case(
        "ExporterStale",
        "10m",
        {f"dgxspark_exporter_last_run_timestamp_seconds{SCRAPED}": "0+0x100"},
        {f"dgxspark_exporter_last_run_timestamp_seconds{SCRAPED}": "0+15x100"},
        NODE,
        "Figures of the GPU and the service of spark01 are older than 5 minutes",
    ),
    Case(
        "MemoryLow",
        "5m",
        {f"node_memory_MemAvailable_bytes{SCRAPED}": f"{5 * GIB}+0x100"},
        {f"node_memory_MemAvailable_bytes{SCRAPED}": f"{7 * GIB}+0x100"},
        NODE,
        "5GiB of memory are available on spark01",
    ),
    Case(
        "MemoryExhausted",
        "5m",
        {f"node_memory_MemAvailable_bytes{SCRAPED}": f"{2 * GIB}+0x100"},
        {f"node_memory_MemAvailable_bytes{SCRAPED}": f"{4 * GIB}+0x100"},
        NODE,
        "2GiB of memory are available on spark01: earlyoom is about to kill vLLM",
    ),
    Case(
        "GpuOutOfMemory",
        "5m",
        {f"dgxspark_nv_err_no_memory_total{SCRAPED}": "0+2x100"},
        {f"dgxspark_nv_err_no_memory_total{SCRAPED}": "0+0x10 1+0x5 2+0x10"},  # single lines
        NODE,
        "The GPU driver of spark01 cannot allocate memory",
    ),
    Case(
        "MemoryPressure",
        "5m",
        {f"node_pressure_memory_stalled_seconds_total{SCRAPED}": "0+6x100"},
        {f"node_pressure_memory_stalled_seconds_total{SCRAPED}": "0+1x100"},
        {"host": "spark01"},
        "All programs of spark01 wait for memory 40% of the time",
    ),
    Case(
        "GpuThrottled",
        "5m",
        {
            f"dgxspark_gpu_sm_clock_hertz{SCRAPED}": "8e8+0x100",
            f"dgxspark_gpu_utilization_ratio{SCRAPED}": "0.95+0x100",
        },
        {f"dgxspark_gpu_sm_clock_hertz{SCRAPED}": "2e8+0x100", f"dgxspark_gpu_utilization_ratio{SCRAPED}": "0+0x100"},
        NODE,
        "The GPU of spark01 runs at 800MHz under load",
    ),
    Case(
        "HostHot",
        "5m",
        {'node_thermal_zone_temp{host="spark01",job="node",zone="1"}': "89+0x100"},
        {'node_thermal_zone_temp{host="spark01",job="node",zone="1"}': "84+0x100"},
        {"host": "spark01"},
        "spark01 has 89 degrees Celsius and may cut its power within minutes",
    ),
    Case(
        "CacheDiskFilling",
        "20m",
        disk("40+0x2000"),
        disk("500+0x2000"),
        {**NODE, "path": "/opt/hf"},
        "The disk with /opt/hf on spark01 is full, or will be within a day",
    ),
    Case(
        "CacheDiskFilling",
        "7h",
        disk("400-2x100"),
        disk("900-2x100"),  # it fills, and has long to go
        {**NODE, "path": "/opt/hf"},
        "The disk with /opt/hf on spark01 is full, or will be within a day",
    ),
    Case(
        "DriverDrift",
        "1h10m",
        driver("580.142", "580.95.05"),
        driver("580.142", "580.142"),
        {},
        "The Sparks have 2 different GPU drivers",
    ),
    Case(
        "DriverNotLoaded",
        "5m",
        {'dgxspark_exporter_part_up{host="spark01",job="node",part="gpu"}': "0+0x100"},
        {'dgxspark_exporter_part_up{host="spark01",job="node",part="gpu"}': "1+0x100"},
        {"host": "spark01"},
        "The GPU driver of spark01 does not answer",
    ),
]


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == set(ALERTS)


def test_every_alert_has_a_severity_and_a_remedy() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), name
        assert set(rule["annotations"]) == {"summary", "remedy"}, name


def promtool_test(case: Case, fires: bool, interval: str) -> dict[str, Any]:
    rule = ALERTS[case.alert]
    alert = {
        "exp_labels": {**case.labels, **rule["labels"]},
        "exp_annotations": {"summary": case.summary, "remedy": rule["annotations"]["remedy"]},
    }
    series = case.bad if fires else case.good
    return {
        "name": f"{case.alert} {'fires' if fires else 'is silent'}",
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": case.alert, "exp_alerts": [alert] if fires else []},
        ],
    }


@pytest.mark.parametrize("interval", ["15s", "5m"])
def test_each_alert_fires_on_bad_figures_and_is_silent_on_good_ones(tmp_path: Path, interval: str) -> None:
    cases = [case for case in CASES if ("h" in case.at) == (interval == "5m")]
    tests = [promtool_test(case, fires, interval) for case in cases for fires in (True, False)]
    suite = {"rule_files": ["rules.yml"], "evaluation_interval": interval, "tests": tests}
    (tmp_path / "rules.yml").write_text(rules())
    (tmp_path / "tests.yml").write_text(json.dumps(suite))
    done = subprocess.run(
        [promtool(), "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["0.10.1.1", "0.24", "0.32"])
def test_the_metrics_of_each_version_of_vllm_are_used(version: str) -> None:
    """Names in the rules that no version has would be silent for ever; each recording has a source in each version."""
    page = (ROOT / "tests" / "fixtures" / "vllm" / version / "metrics.txt").read_text()
    names = set(re.findall(r"^(vllm:\w+)", page, re.MULTILINE))
    for group in yaml.safe_load(rules())["groups"]:
        for rule in group["rules"]:
            used = set(re.findall(r"vllm:\w+", rule["expr"]))
            if used and not any("spec_decode" in name for name in used):
                assert used & names, f"{rule} has no metric of vLLM {version}"
