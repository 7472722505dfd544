# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard of the systemd unit says when it does not start the container."""

from __future__ import annotations

from ..entries import MEMORY, Signature

UNIT: tuple[Signature, ...] = (
    Signature(
        "start_memory",
        "fatal",
        "memory",
        ("gib of memory are needed",),
        r"not started: (?P<need>[\d.]+) GiB of memory are needed, (?P<have>[\d.]+) GiB are available"
        r" after (?P<seconds>\d+) s; most is held by (?P<holders>.{1,250})",
        "the service waits for {need} GiB of memory and has {have} GiB (most is held by {holders})",
        "stop what holds the memory, or lower vllm_gpu_memory_utilization (kv_cache_memory_bytes if vllm_extra_args"
        " sets it)",
        versions="the role vllm",
        known="seen",
        source="sandbox, journey resilience",
        guide=MEMORY,
    ),
    Signature(
        "start_memory_never",
        "fatal",
        "memory",
        ("gib of memory are needed",),
        r"not started: (?P<need>[\d.]+) GiB of memory are needed, more than the (?P<have>[\d.]+) GiB of the host;"
        r" (?P<what>kv_cache_memory_bytes in vllm_extra_args|vllm_gpu_memory_utilization) asks for it",
        "the service wants {need} GiB of memory, and the host has {have} GiB in all",
        "lower {what} and deploy; with vllm_enforce_memory_plan: true this is refused before anything is stopped",
        versions="the role vllm",
        known="seen",
        source="unit tests",
        guide=MEMORY,
    ),
    Signature(
        "peer_silent",
        "fatal",
        "network",
        ("and serves the model together",),
        r"not started: (?P<peers>\d[\d., ]{0,249}) did not answer for (?P<seconds>\d+) s,"
        r" and serves the model together",
        "the service waits for another host of vllm_nodes, {peers}, which did not answer for {seconds} s",
        "start that host; if it runs, check its vllm_node_address, the cable and the firewall",
        versions="the role vllm",
        known="seen",
        source="sandbox, journey pair",
    ),
    Signature(
        "ray_incomplete",
        "fatal",
        "network",
        ("dependency failed to start",),
        r"dependency failed to start: container (?P<container>[\w.-]{1,120}-ray) (?:is unhealthy|exited \(\d{1,3}\))",
        "Ray did not form a cluster of all hosts of vllm_nodes: it ended on the head, or not all of them joined within"
        " five minutes",
        "look at `docker logs {container}` on the head; run playbooks/health.yml for all hosts, and start those that"
        " are down; if they run, check vllm_node_address and the cable, and that vllm_api_key is the same everywhere",
        versions="the role vllm",
        known="seen",
        source="sandbox, by hand",
    ),
    Signature(
        "start_tries",
        "fatal",
        "service",
        ("and never answered",),
        r"not started: release (?P<release>\S+) was started (?P<number>\d+) times since (?P<since>.{1,20}?)"
        r" \(.{1,40}?\) and never answered; deploy again, or run: (?P<command>.{1,200})",
        "release {release} was started {number} times since {since} and never answered, so it is not started any more",
        "playbooks/health.yml names the cause of the last start: fix it and deploy again; or, to"
        " start it as it is, run on the host: {command}",
        versions="the role vllm",
        known="seen",
        source="sandbox, journey resilience",
    ),
)
