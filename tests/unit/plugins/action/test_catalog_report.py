# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action in a real play, without a host that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.paths import NO_SETTINGS
from support.playbook import AnsiblePlaybook


@pytest.mark.parametrize("callback", ["ansible.builtin.default", "ansible.posix.json"])
def test_the_table_is_shown_to_people_only(tmp_path: Path, ansible_playbook: AnsiblePlaybook, callback: str) -> None:
    plan = {"fits": True, "kv_tokens": 623000, "max_context": 131072, "sequences": 19.0}
    book = [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars": {"ansible_host": "192.0.2.1", "vllm_models": {"qwen3-8b-fp8": {"good_for": "{{ 'us' }}"}}},
            "tasks": [
                {
                    "name": "Show",
                    "dgxspark.vllm.catalog_report": {
                        "title": "spark01, 121.7 GiB",
                        "models": "{{ query('dgxspark.vllm.model', '*') }}",
                        "plans": {"qwen3-8b-fp8": plan},
                    },
                }
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(book), encoding="utf-8")
    run = ansible_playbook(
        "play.yml",
        inventory="spark01,",
        folder=tmp_path,
        config=NO_SETTINGS,
        environment={"ANSIBLE_STDOUT_CALLBACK": callback},
    )
    assert run.code == 0, run.output
    if callback == "ansible.posix.json":
        (result,) = run.json()["plays"][0]["tasks"][0]["hosts"].values()
        assert result["changed"] is False
        assert "623,000" in result["table"]
    else:
        lines = run.output.splitlines()
        assert "spark01, 121.7 GiB" in lines
        (line,) = (line for line in lines if line.startswith("qwen3-8b-fp8"))
        assert line.split()[1:4] == ["Qwen/Qwen3-8B-FP8", "9.44", "GB"]
        assert "623,000" in line
        assert any(line.startswith("gpt-oss-120b") and " - " in line for line in lines)
