# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/tune.yml with stand-ins for deployment and measurement: what is deployed, in which order, and proposed."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import yaml
from role_on_standins import Fleet

from support.playbook import AnsiblePlaybook

# Notes the profile. One of them does not fit.
DEPLOYMENT = [
    {"name": "Note", "ansible.builtin.shell": "echo {{ vllm_profile }} >>{{ vllm_home }}/deployed"},
    {"name": "Refuse", "ansible.builtin.fail": {"msg": "it does not fit"}, "when": "vllm_profile == 'large'"},
]
# As fast as the profile that was deployed last.
MEASUREMENT = """
from ansible.plugins.action import ActionBase

RATES = {"throughput": 100.0, "latency": 200.0}

class ActionModule(ActionBase):
    _requires_connection = False
    def run(self, tmp=None, task_vars=None):
        with open(self._templar.template(task_vars["vllm_home"]) + "/deployed") as file:
            profile = file.read().split()[-1]
        run = {
            "cell": {**self._task.args["cells"][0], "prefix_tokens": 0},
            "repetition": 1,
            "problem": None,
            "result": {"output_throughput": RATES[profile], "median_ttft_ms": 9.0, "median_tpot_ms": 9.0},
            "settled": {"idle": True, "cool": True},
            "gpu_during": None,
            "server": {"others": False, "preemptions": 0},
        }
        server = {"service": "vllm", "model": "m", "profile": profile, "options": [], "gpu": None}
        return {"complete": True, "reason": None, "runs": [run], "too_long": {}, "not_run": [], "server": server}
"""

NOTHING = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False
    def run(self, tmp=None, task_vars=None):
        return {"changed": False}
"""


def test_each_profile_is_measured_and_the_inventory_comes_last(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    own: dict[str, t.Any] = {
        "vllm_profiles": {"large": {"args": {"max_num_seqs": 999}}},
        "benchmark_profiles": ["latency", "large", "throughput"],
        "benchmark_folder": str(tmp_path / "benchmarks"),
    }
    fleet = Fleet(ansible_playbook, tmp_path, {"h0": own, "h1": {**own, "vllm_profile": "latency"}})
    mine = tmp_path / "collections" / "ansible_collections" / "dgxspark" / "vllm"
    (mine / "plugins" / "action" / "vllm_benchmark.py").write_text(MEASUREMENT)
    (mine / "roles" / "vllm" / "tasks" / "main.yml").write_text(json.dumps(DEPLOYMENT))
    # these hosts are folders, whose places it would refuse; test_tune_and_export.py has what it says here
    (mine / "plugins" / "action" / "check_variables.py").write_text(NOTHING)
    code, output = fleet.run("tune.yml", extra={})
    assert code == 0, output
    for host, wanted in (("h0", "throughput"), ("h1", "latency")):
        deployed = (tmp_path / host / "deployed").read_text().split()
        assert deployed == ["latency", "large", "throughput", wanted]
    said = " ".join(output.split())
    assert said.count("not measured: it does not fit") >= 2
    assert "latency has the most tokens/s: 200.0 with 1 requests at a time written:" in said
    assert "no other one is faster beyond noise" in said
    tuned = yaml.safe_load((tmp_path / "benchmarks" / "h0" / "tuned.yml").read_text())
    assert tuned["vllm_profiles"]["tuned"]["args"]["max_num_seqs"] == 16
    assert not (tmp_path / "benchmarks" / "h1" / "tuned.yml").exists()
