# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/catalogue.yml on this machine: every model, and a plan for each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalogue import Catalogue

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[3]


def test_every_model_with_its_plan(tmp_path: Path) -> None:
    tiny = {"id": "a/b", "weights_bytes": 1000, "layers": 1, "kv_heads": 1, "head_dim": 8, "native_context": 40960}
    huge = {**tiny, "id": "a/c", "weights_bytes": 10**15}
    hosts = {
        name: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable} for name in ("one", "two")
    }
    common = {"vllm_models": {"tiny": tiny, "huge": huge}, "vllm_memory_reserve_gib": 0, "vllm_profile": "latency"}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": hosts, "vars": common}}, sort_keys=False), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    run = subprocess.run(
        [str(BIN / "ansible-playbook"), "-i", str(inventory), "playbooks/catalogue.yml"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    head = next(line for line in lines if line.startswith("model "))
    fits = head.index("fits?")
    seen = {line.split()[0]: line[fits:].split()[0] for line in lines if line[fits:].startswith(("yes", "no "))}
    assert list(seen) == [*Catalogue().models(), "tiny", "huge"]
    assert (seen["tiny"], seen["huge"]) == ("yes", "no")
    assert any(line.startswith("one, ") and "profile latency, 16384 tokens of context" in line for line in lines)
    assert "changed=0" in run.stdout
