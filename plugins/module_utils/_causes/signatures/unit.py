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
        "stop what holds the memory, or lower vllm_gpu_memory_utilization",
        versions="the role vllm",
        known="seen",
        source="sandbox, journey resilience",
        guide=MEMORY,
    ),
    Signature(
        "start_memory_wait",
        "hint",
        "memory",
        ("gib of memory wanted",),
        r"(?<![\d.])(?P<need>\d{1,7}\.\d) GiB of memory wanted, (?P<have>[\d.]{1,9}) GiB available: waiting",
        "the start waits for {need} GiB of memory, of which {have} GiB are available",
        "wait: what was stopped just now gives its memory back within seconds; if it stays so, stop what holds the"
        " memory, or lower vllm_gpu_memory_utilization",
        versions="the role vllm",
        known="seen",
        source="sandbox, journey resilience",
        guide=MEMORY,
    ),
    Signature(
        "peer_wait",
        "hint",
        "network",
        (", which does not answer",),
        r"waiting for (?P<peers>\d[\d., ]{0,249}), which does not answer",
        "the start waits for another host of vllm_nodes, {peers}, which does not answer",
        "start that host; if it runs, check its vllm_node_address, the cable and the firewall",
        versions="the role vllm",
        known="seen",
        source="sandbox, journey pair",
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
