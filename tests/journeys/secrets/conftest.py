# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment that all tests of this journey look at."""

from __future__ import annotations

import json

import pytest

from support.deployments import EAGER
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark

from .vault import API_KEY, HF_TOKEN


@pytest.fixture(scope="session")
def run(prepared: Spark, ansible_playbook: AnsiblePlaybook, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A deployment with a new key, so that everything that carries a secret is written."""
    vault = tmp_path_factory.mktemp("secrets") / "vault.json"
    secrets = {"vllm_hf_token": HF_TOKEN, "vllm_api_key": API_KEY}
    vault.write_text(json.dumps({**secrets, "vllm_extra_args": EAGER, "vllm_read_only_root": True}))
    run = ansible_playbook("site.yml", prepared.limit, "-vvv", "--diff", f"--extra-vars=@{vault}")
    assert run.code == 0, run.output
    assert run.count(prepared.name, "changed") > 0, run.output
    return run
