# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the role monitoring: the committed dashboards are what tools/dashboards.py writes, and their queries are
valid and ask for series that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate import monitoring
from ansible_collections.dgxspark.vllm.roles.monitoring.files import exporter
from test_monitoring_rules import rules

from support.paths import ROOT
from support.promtool import promtool

DASHBOARDS = ROOT / "roles" / "monitoring" / "files" / "dashboards"
# Of the node exporter and of Prometheus itself.
OTHERS = {
    *("up", "ALERTS", "node_memory_MemAvailable_bytes", "node_cpu_seconds_total", "node_thermal_zone_temp"),
    "node_pressure_memory_stalled_seconds_total",
}


OPERATORS = {*("and", "or", "unless", "on", "by", "offset"), *("sum", "max", "count", "avg")}


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "dashboards.py", *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def queries() -> dict[str, str]:
    """Of all panels, by where they are."""
    found = {}
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets") or []:
                found[f"{path.name} {panel['title']} {target['refId']}"] = target["expr"]
    return found


def test_the_committed_dashboards_are_what_the_generator_writes(tmp_path: Path) -> None:
    done = tool("--check")
    assert done.returncode == 0, done.stderr
    (tmp_path / "host.json").write_text("{}\n")
    old = tool("--check", tmp_path)
    assert (old.returncode, old.stderr) == (1, "fleet.json, host.json: out of date; run: make docs\n")


def test_panels_have_numbers_and_one_data_source() -> None:
    for path in DASHBOARDS.glob("*.json"):
        panels = json.loads(path.read_text())["panels"]
        assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
        assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"dgxspark"}


def series(expression: str) -> set[str]:
    """Names of series in an expression: words that are no functions, operators or labels."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|on|without) \([^)]*\)', " ", expression)
    words = re.findall(r"(?<![\w.])[A-Za-z_:][\w:]*", re.sub(r"\b\w+\(", " (", bare))
    return set(words) - OPERATORS


def test_queries_ask_for_series_that_exist() -> None:
    recorded = {
        rule["record"] for group in yaml.safe_load(rules())["groups"] for rule in group["rules"] if "record" in rule
    }
    known = recorded | OTHERS | {f"dgxspark_{name}" for name in exporter.HELP}
    for where, expression in queries().items():
        asked = series(expression)
        assert asked, where
        assert asked <= known, f"{where}: {asked - known}"
    for group in yaml.safe_load(rules())["groups"]:
        for rule in group["rules"]:
            missing = {name for name in series(rule["expr"]) if not name.startswith("vllm:")} - known
            assert not missing, f"{rule}: {missing}"


def test_queries_are_valid(tmp_path: Path) -> None:
    """As the expressions of recording rules."""
    group = {
        "name": "panels",
        "rules": [
            {"record": "x", "labels": {"where": where}, "expr": expression} for where, expression in queries().items()
        ],
    }
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [group]}))
    command = [promtool(), "check", "rules", str(tmp_path / "panels.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("bounds", "names"),
    [
        (monitoring.TTFT_BOUNDS, ["vllm:time_to_first_token_seconds_bucket"]),
        (
            monitoring.INTER_TOKEN_BOUNDS,
            ["vllm:inter_token_latency_seconds_bucket", "vllm:time_per_output_token_seconds_bucket"],
        ),
    ],
)
@pytest.mark.parametrize("version", ["0.10.1.1", "0.24", "0.32"])
def test_limits_are_bounds_of_the_buckets(bounds: tuple[float, ...], names: list[str], version: str) -> None:
    page = (ROOT / "tests" / "fixtures" / "vllm" / version / "metrics.txt").read_text()
    found = re.findall(rf'^(?:{"|".join(names)}){{.*le="([\d.]+)"', page, re.MULTILINE)
    assert set(bounds) <= {float(bound) for bound in found}


def test_a_target_cannot_send_prometheus_on_or_fill_its_memory(tmp_path: Path) -> None:
    (tmp_path / "vllm").write_text("key")
    (tmp_path / "rules.yml").write_text("groups: []")
    target = {"unit": "vllm", "job": "vllm", "address": "127.0.0.1:8000", "labels": {"host": "a"}}
    environment = jinja2.Environment(trim_blocks=True)
    environment.filters.update(to_json=json.dumps, combine=lambda one, other: {**one, **other})
    template = (ROOT / "roles" / "monitoring" / "templates" / "prometheus.yml.j2").read_text()
    names = {name: str(tmp_path) for name in ("__monitoring_folder", "__monitoring_keys")}
    names |= {"monitoring_interval": "15", "monitoring_alertmanagers": [], "monitoring_webhook": ""}
    found = {"targets": [{**target, "key": True}, {**target, "key": False, "job": "node"}]}
    text = environment.from_string(template).render(**names, __monitoring_found=found)
    (tmp_path / "prometheus.yml").write_text(text)
    command = [promtool(), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for job in yaml.safe_load(text)["scrape_configs"]:
        assert (job["follow_redirects"], job["body_size_limit"]) == (False, "16MB")


def unit(name: str) -> dict[str, Any]:
    text = (ROOT / "roles" / "monitoring" / "templates" / name).read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_the_exporter_is_no_root_and_cannot_hang() -> None:
    service = unit("dgxspark-exporter.service.j2")
    assert service["User"] == "prometheus"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_SYSLOG"
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"
    # nvidia-smi, and systemctl for each of two services, with the second that a killed one has
    assert int(service["TimeoutStartSec"]) > 3 * (exporter.TIMEOUT + 1)
