# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ray, for hosts that serve one model together with an image whose vLLM does not span hosts by itself. Pure.

Each host has a container in which `ray start` runs. Ray starts the processes of vLLM in it; that of the API is in a
container of its own, beside the one of the head.
"""

from __future__ import annotations

import typing as t

from .._catalog.fields import Entry
from .words import GIB

# What Ray listens on, by the distance from vllm_master_port, and the first and the last of what its workers get.
GCS, NODE, OBJECTS, RUNTIME_ENV, AGENT_GRPC, AGENT, METRICS, DASHBOARD, MONITOR, DASHBOARD_METRICS = range(10)
WORKERS, LAST = 20, 99
# Ray takes 30 % of the memory if nobody says how much. Between two hosts of vLLM only small objects pass through it.
OBJECT_STORE_BYTES = GIB
# M: 1.7 GiB resident for the processes of a head with its dashboard, Ray 2.60.
MEMORY_BYTES = OBJECT_STORE_BYTES + 2 * GIB
# Seconds until all hosts have joined. A worker tries longer than that.
JOIN_SECONDS = 300
# In a folder that the containers of a service share, and that root alone reaches on the host.
FOLDER = "/root/.cache/ray"
# Bytes of one log file, of which two are kept; by default it is 3 GiB.
LOG_BYTES = 16 * 1024**2

# Ends when all nodes are there; Docker ends it before.
_JOINED = """import ray, time
joined = 0
while joined < {number}:
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        joined = sum(node["Alive"] for node in ray.nodes())
    except Exception as error:
        print(error)
    print(joined, "of {number} hosts have joined", flush=True)
    time.sleep(1)
"""


def is_needed(image: Entry, options: t.Container[str]) -> bool:
    """Whether vLLM of an image with these OPTIONS spans hosts by Ray only. Unless known, as the guides start it."""
    spans = image.get("multi_node")
    return "nnodes" not in options or spans is False or (spans is None and bool(image.get("ray")))


def ports(master_port: int) -> tuple[int, int]:
    """The first and the last one."""
    return master_port, master_port + LAST


def environment(head: str, master_port: int) -> dict[str, str]:
    """Of all containers: what Ray has no option for, and where vLLM finds it."""
    return {
        "RAY_ADDRESS": f"{head}:{master_port}",
        # S: on unified memory it ends workers because the GPU's memory counts as used
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "AUTOSCALER_METRIC_PORT": str(master_port + MONITOR),
        "DASHBOARD_METRIC_PORT": str(master_port + DASHBOARD_METRICS),
    }


def start(address: str, head: str, master_port: int, has_gpu: bool) -> list[str]:
    """The command of one host. What depends on nothing but the host is said: Ray guesses, and asks the internet."""
    given = {
        "node-ip-address": address,
        "node-manager-port": master_port + NODE,
        "object-manager-port": master_port + OBJECTS,
        "runtime-env-agent-port": master_port + RUNTIME_ENV,
        "dashboard-agent-grpc-port": master_port + AGENT_GRPC,
        "dashboard-agent-listen-port": master_port + AGENT,
        "metrics-export-port": master_port + METRICS,
        "min-worker-port": master_port + WORKERS,
        "max-worker-port": master_port + LAST,
        "object-store-memory": OBJECT_STORE_BYTES,
        "num-cpus": 1,  # as many idle processes wait for work; that of vLLM needs none
        "num-gpus": int(has_gpu),
    }
    if address == head:
        own = {"port": master_port + GCS, "temp-dir": FOLDER}
        dashboard = {"dashboard-host": "127.0.0.1", "dashboard-port": master_port + DASHBOARD}
        role = ["--head", *(f"--{name}={value}" for name, value in {**own, **dashboard}.items())]
    else:
        role = [f"--address={head}:{master_port}"]
    return ["ray", "start", "--block", *role, *(f"--{name}={value}" for name, value in given.items())]


def check(number: int) -> list[str]:
    """What Docker runs in the container of the head: it ends well when NUMBER hosts have joined."""
    return ["python3", "-c", _JOINED.format(number=number)]
