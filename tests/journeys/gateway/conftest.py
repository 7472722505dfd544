# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts that serve one model with a key, and a gateway on the first of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import unwanted
from support.deployments import EAGER, B, deployed
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark

KEY = "6b1fd1d9c1d44a2c8f0e9f3f6d2b7a55"
CLIENT = "c0ffee1d9c1d44a2c8f0e9f3f6d2b7a5"
SMALL = "5ba11d1d9c1d44a2c8f0e9f3f6d2b7a5"
LIMITED = [f"11117ed{number:02}9c1d44a2c8f0e9f3f6d2b7a5" for number in range(20)]
MANY = {"requests_per_minute": 100000, "concurrent": 10000}
GATEWAY = "spark01"
PORT = 8080
MODEL = "sandbox/tiny"  # two engines and their clients have two cores here
SERVED: dict[str, Any] = {
    **B,
    "vllm_gpu_memory_utilization": 0.15,  # twice on one host at the end
    "vllm_extra_args": {**EAGER, "max_num_seqs": 32},
    "vllm_publish_address": "0.0.0.0",
    "vllm_image_allow": ["advisory"],  # of what the sandbox has under this tag, none is true
    "vllm_api_key": KEY,
    "gateway_keys": [
        {"name": "load", "key": CLIENT, **MANY},
        {"name": "small", "key": SMALL, "body_bytes": unwanted.SMALL, **MANY},
        *(
            {"name": f"limited{number:02}", "key": key, "concurrent": 1, "requests_per_minute": unwanted.PER_MINUTE}
            for number, key in enumerate(LIMITED)
        ),
    ],
    "gateway_connections": 5000,
    "gateway_hold_requests": 4000,
}
TWO: list[dict[str, Any]] = [{"name": "vllm"}, {"name": "vllm-b", "vllm_port": 8001}]


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What makes one of the hosts the gateway, beside the inventory of the sandbox."""
    path: Path = tmp_path_factory.mktemp("gateway") / "gateway.yml"
    path.write_text(f"gateway:\n  hosts:\n    {GATEWAY}:\n")
    return f"--inventory={path}"


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same gateway, on a host with two services of one model."""
    folder: Path = tmp_path_factory.mktemp("divided")
    hosts = {"spark": {"hosts": {GATEWAY: {"vllm_services": TWO}}}, "gateway": {"hosts": {GATEWAY: None}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (folder / "services.yml").write_text("plugin: dgxspark.vllm.services\n")  # read last, so it sees their list
    return f"--inventory={folder}"


@pytest.fixture(scope="module")
def serving(two_hosts: dict[str, Spark], ansible_playbook: AnsiblePlaybook, inventory: str) -> dict[str, Spark]:
    with ThreadPoolExecutor() as pool:  # not one after the other: how they are deployed is not what is tested yet
        runs = [pool.submit(deployed, ansible_playbook, SERVED, inventory, f"--limit={name}") for name in two_hosts]
    for run in runs:
        run.result()
    return two_hosts


@pytest.fixture(scope="module")
def set_up(serving: dict[str, Spark], ansible_playbook: AnsiblePlaybook, inventory: str) -> Run:
    run = ansible_playbook("playbooks/gateway.yml", inventory, "--diff", **SERVED)
    assert run.code == 0, run.output
    return run
