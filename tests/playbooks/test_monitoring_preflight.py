# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitoring refuses hosts that it must not touch, before it changes anything; spark_info is told."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from support.playbook import THIS_MACHINE, AnsiblePlaybook, Run

UNITS = "/etc/systemd/system"
NODE, PROMETHEUS, ALERTMANAGER = (
    f"{UNITS}/{name}.service.d/dgxspark.conf"
    for name in ("prometheus-node-exporter", "prometheus", "prometheus-alertmanager")
)
OURS = (f"{UNITS}/dgxspark-exporter.service", f"{UNITS}/dgxspark-exporter.timer", NODE, PROMETHEUS, ALERTMANAGER)
NOTES = ("/etc/prometheus/dgxspark/loaded", "/etc/prometheus/dgxspark/alertmanager.loaded")
ABSENT = {"type": "absent", "content": None}
SERVES = [{"service": "vllm", "container": "vllm-m", "planned_bytes": 1, "release": "0123456789ab"}]
CDI = {"toolkit": {"cdi_devices": ["nvidia.com/gpu=all"]}, "docker": {"cdi_spec_dirs": ["/etc/cdi"]}}


def state(**more: t.Any) -> dict[str, t.Any]:
    """A host without any package of monitoring, whose vLLM gets the GPU by Docker's legacy hook."""
    files = dict.fromkeys([*OURS, "/etc/grafana/provisioning", *NOTES], ABSENT)
    memory = {"total_bytes": 130674379980, "available_bytes": 124554051584}
    packages = dict.fromkeys(["prometheus", "prometheus-node-exporter", "prometheus-alertmanager"])
    return {"memory": memory, "services": SERVES, "files": files, "commands": packages, "units": {}, **more}


def active(name: str) -> dict[str, t.Any]:
    return {f"{name}.service": {"load_state": "loaded", "active_state": "active", "needs_reload": False}}


HOSTS: dict[str, dict[str, t.Any]] = {
    "legacy": {"state": state()},
    "accepted": {"state": state(), "monitoring_reload_while_serving": True},
    "cdi": {"state": state(**CDI)},
    "their-node-exporter": {"state": state(**CDI, units=active("prometheus-node-exporter"))},
    "their-alertmanager": {
        "state": state(**CDI, units=active("prometheus-alertmanager")),
        "monitoring_webhook": "http://127.0.0.1:1/",
    },
    "their-prometheus": {"state": state(**CDI, units=active("prometheus"))},
}


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook) -> Run:
    folder: Path = tmp_path_factory.mktemp("monitoring")
    inventory = {"spark": {"hosts": HOSTS, "vars": THIS_MACHINE}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    tasks = [
        {"include_role": {"name": "dgxspark.vllm.monitoring", "tasks_from": f"{name}.yml", "rolespec_validate": False}}
        for name in ("validate", "preflight")
    ]
    reached = {"debug": {"msg": "may be changed"}}
    play = {"hosts": "spark", "gather_facts": False, "tasks": [*tasks, reached]}
    (folder / "play.yml").write_text(json.dumps([play]))
    # an extra variable wins over what a task registers
    told = {"__monitoring_host": {"spark": "{{ state }}"}}
    return ansible_playbook(folder / "play.yml", inventory=folder / "hosts.json", **told)


def refusal(run: Run, host: str) -> str:
    """What the host was told, in one line; empty if nothing."""
    begin = f"fatal: [{host}]: FAILED! =>"
    return run.words.partition(begin)[2].partition("TASK [")[0] if begin in run.words else ""


def test_a_reload_of_systemd_may_not_take_the_gpu_away(run: Run) -> None:
    assert "legacy serves without CDI, and a changed unit needs a reload" in refusal(run, "legacy"), run.output
    assert "monitoring_reload_while_serving: true" in refusal(run, "legacy")
    for host in ("accepted", "cdi"):
        assert f"ok: [{host}] => msg: may be changed" in run.words, run.output


@pytest.mark.parametrize(
    ("host", "unit"),
    [
        ("their-node-exporter", "prometheus-node-exporter.service"),
        ("their-prometheus", "prometheus.service"),
        ("their-alertmanager", "prometheus-alertmanager.service"),
    ],
)
def test_what_runs_already_and_is_not_ours_is_left_alone(run: Run, host: str, unit: str) -> None:
    assert f"{host}: {unit} runs already. Nothing was changed." in refusal(run, host), run.output
