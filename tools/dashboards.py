#!/usr/bin/env python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the Grafana dashboards of the role monitoring: roles/monitoring/files/dashboards/{fleet,host}.json.

dashboards.py [--check] [FOLDER]     --check changes nothing, and fails if a file is old

The thresholds are those of the alerts in roles/monitoring/templates/rules.yml.j2, the limits of latency its defaults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode, VariableRefresh
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

ROLE = Path(__file__).resolve().parent.parent / "roles" / "monitoring"
# The uid that roles/monitoring/tasks/grafana.yml gives the data source.
SOURCE = DataSourceRef(type_val="prometheus", uid="dgxspark")
GIB = 1024**3
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))


class Panel(NamedTuple):
    """One graph: queries by legend; a limit, if there is one, is above (or below) it red."""

    title: str
    queries: dict[str, str]
    unit: str
    limit: float | None = None
    is_floor: bool = False
    description: str = ""


def service_panels(where: str) -> list[Panel]:
    """Of the services that WHERE selects, by recorded series."""
    name = "{{host}} {{service}}"
    return [
        Panel("Generated tokens", {name: f"service:generation_tokens:rate5m{where}"}, "suffix:tok/s"),
        Panel("Prompt tokens", {name: f"service:prompt_tokens:rate5m{where}"}, "suffix:tok/s"),
        Panel(
            "Requests",
            {
                "running " + name: f"service:requests_running:sum{where}",
                "waiting " + name: f"service:requests_waiting:sum{where}",
            },
            "short",
        ),
        Panel(
            "Time to first token, 95 %",
            {name: f"service:ttft_seconds:p95_5m{where}"},
            "s",
            DEFAULTS["monitoring_ttft_seconds"],
        ),
        Panel(
            "Time between tokens, 95 %",
            {name: f"service:inter_token_seconds:p95_5m{where}"},
            "s",
            DEFAULTS["monitoring_inter_token_seconds"],
        ),
        Panel(
            "KV cache in use",
            {name: f"service:kv_cache_usage:max{where}"},
            "percentunit",
            0.95,
            description="Near 100 % with preemptions means that requests are computed twice.",
        ),
        Panel("Preemptions", {name: f"service:preemptions:rate5m{where}"}, "cps"),
        Panel("Prefix cache hits", {name: f"service:prefix_cache_hits:ratio15m{where}"}, "percentunit"),
        Panel("Draft tokens accepted", {name: f"service:draft_tokens_accepted:ratio15m{where}"}, "percentunit"),
    ]


def host_panels(where: str) -> list[Panel]:
    """Of the machines that WHERE selects."""
    name = "{{host}}"
    return [
        Panel("Available memory", {name: f"node_memory_MemAvailable_bytes{where}"}, "bytes", 6 * GIB, is_floor=True),
        Panel("Memory pressure", {name: f"host:memory_stalled:ratio1m{where}"}, "percentunit", 0.2),
        Panel("Hottest thermal zone", {name: f"host:thermal_zone_celsius:max{where}"}, "celsius", 88),
        Panel("GPU utilization", {name: f"dgxspark_gpu_utilization_ratio{where}"}, "percentunit"),
        Panel(
            "SM clock",
            {name: f"dgxspark_gpu_sm_clock_hertz{where}"},
            "hertz",
            1.5e9,
            is_floor=True,
            description="Below 1.5 GHz under load the GPU is throttled. An idle GPU is slower than that.",
        ),
        Panel("GPU power", {name: f"dgxspark_gpu_power_watts{where}"}, "watt"),
        Panel("GPU temperature", {name: f"dgxspark_gpu_temperature_celsius{where}"}, "celsius", 88),
        Panel("NV_ERR_NO_MEMORY lines", {name: f"increase(dgxspark_nv_err_no_memory_total{where}[2m])"}, "short", 10),
        Panel(
            "Free space of the model cache",
            {name: f"dgxspark_hf_cache_free_bytes{where} / dgxspark_hf_cache_size_bytes{where}"},
            "percentunit",
            0.05,
            is_floor=True,
        ),
    ]


def thresholds(panel: Panel) -> dashboards.ThresholdsConfig:
    steps = [Threshold(value=None, color="red" if panel.is_floor else "green")]
    if panel.limit is not None:
        steps.append(Threshold(value=panel.limit, color="green" if panel.is_floor else "red"))
    else:
        steps[0].color = "green"
    return dashboards.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def query(expression: str, legend: str = "") -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE)


def graph(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(8)
        .height(8)
        .thresholds(thresholds(panel))
    )
    if panel.limit is not None:
        built = built.thresholds_style(GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE))
    for letter, (legend, expression) in zip("AB", panel.queries.items(), strict=False):
        built = built.with_target(query(expression, legend).ref_id(letter))
    return built


def number(title: str, expression: str, red_above: float | None = None) -> stat.Panel:
    panel = Panel(title, {}, "short", red_above)
    return (
        stat.Panel()
        .title(title)
        .datasource(SOURCE)
        .unit("short")
        .span(4)
        .height(4)
        .no_value("0")
        .thresholds(thresholds(panel))
        .with_target(query(expression).instant().ref_id("A"))
    )


def listing(title: str, expression: str) -> table.Panel:
    """Labels of the newest sample of each series."""
    target = query(expression).instant().ref_id("A").format(PromQueryFormat.TABLE)
    return table.Panel().title(title).datasource(SOURCE).span(24).height(6).show_header(True).with_target(target)


def dashboard(title: str, uid: str) -> dashboards.Dashboard:
    return (
        dashboards.Dashboard(title)
        .uid(uid)
        .tags(["dgxspark", "vllm"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .readonly()
    )


def fleet() -> dashboards.Dashboard:
    page = dashboard("DGX Spark: fleet", "dgxspark-fleet")
    for title, expression, limit in (
        ("Services that answer", 'count(up{job="vllm"} == 1)', None),
        ("Services that do not", 'count(up{job="vllm"} == 0)', 1.0),
        ("Alerts", 'count(ALERTS{alertstate="firing"})', 1.0),
        ("Tokens per second", "sum(service:generation_tokens:rate5m)", None),
        ("Requests running", "sum(service:requests_running:sum)", None),
        ("Requests waiting", "sum(service:requests_waiting:sum)", None),
    ):
        page = page.with_panel(number(title, expression, limit))
    page = page.with_panel(listing("Alerts", 'ALERTS{alertstate="firing"}'))
    page = page.with_panel(listing("Releases", "dgxspark_vllm_info"))
    page = page.with_row(dashboards.Row("Services"))
    for panel in service_panels(""):
        page = page.with_panel(graph(panel))
    page = page.with_row(dashboards.Row("Hosts"))
    for panel in host_panels(""):
        page = page.with_panel(graph(panel))
    return page


def host() -> dashboards.Dashboard:
    where = '{host="$host"}'
    variable = (
        dashboards.QueryVariable("host")
        .label("Host")
        .datasource(SOURCE)
        .query("label_values(up, host)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    page = dashboard("DGX Spark: one host", "dgxspark-host").with_variable(variable)
    page = page.with_panel(listing("Release", f"dgxspark_vllm_info{where}"))
    page = page.with_panel(listing("GPU and driver", f"dgxspark_gpu_info{where}"))
    for panel in service_panels(where):
        page = page.with_panel(graph(panel))
    starts = Panel(
        "Last look of the watchdog", {"{{service}} {{verdict}}": f"dgxspark_vllm_canary{where} == 1"}, "short"
    )
    running = Panel("Running since", {"{{service}}": f"time() - dgxspark_vllm_start_time_seconds{where}"}, "s")
    load = Panel(
        "CPU",
        {"busy": '1 - avg by (host) (rate(node_cpu_seconds_total{host="$host",mode="idle"}[5m]))'},
        "percentunit",
    )
    for panel in (starts, running, load, *host_panels(where)):
        page = page.with_panel(graph(panel))
    return page


def files() -> dict[str, str]:
    """Content by name. Panels are numbered, so that links to one of them stay valid."""
    found = {}
    for name, page in (("fleet", fleet()), ("host", host())):
        built = page.build()
        for number, panel in enumerate(built.panels or [], 1):
            panel.id_val = number
        found[f"{name}.json"] = JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the Grafana dashboards of the role monitoring.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if a file is not up to date")
    parser.add_argument("folder", type=Path, nargs="?", default=ROLE / "files" / "dashboards")
    arguments = parser.parse_args()
    old = []
    for name, content in files().items():
        path = arguments.folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            old.append(name)
            if not arguments.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
    if arguments.check and old:
        print(f"{', '.join(old)}: out of date; run: make docs", file=sys.stderr)
    return 1 if arguments.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
