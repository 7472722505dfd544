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
        "start_path",
        "fatal",
        "service",
        ("and no longer to",),
        r"not started: (?P<path>/\S{1,250}) leads to (?P<now>/\S{0,250}) and no longer to (?P<before>/\S{0,250});",
        "{path} leads to {now} now, to {before} when the release was staged: someone has made a link of it, or of a"
        " folder above it",
        "if that is wanted, deploy again; otherwise look with `namei -l {path}` who owns what is above it, and move it"
        " back",
        versions="the role vllm",
        known="source",
        source="roles/vllm/files/guard.py",
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
        "peer_source",
        "fatal",
        "network",
        ("its vllm_node_address, and only that is let in",),
        r"not started: a connection to (?P<peer>[\d.]{7,15}) comes from (?P<used>[\d.]{7,15}) and not from"
        r" (?P<own>[\d.]{7,15}), its vllm_node_address, and only that is let in",
        "the service reaches {peer}, another host of vllm_nodes, from {used} and not from its vllm_node_address {own},"
        " which is all that the other host lets in",
        "set vllm_node_address of this host to {used}, or correct its routes: two interfaces in one subnet need a"
        " subnet each (playbooks/fabric.yml)",
        versions="the role vllm",
        known="seen",
        source="by hand, in network namespaces",
    ),
    Signature(
        "ports_open",
        "fatal",
        "network",
        ("the ports of the group could not be closed",),
        r"not started: the ports of the group could not be closed to other hosts: (?P<why>.{1,200})",
        "the ports between the hosts of vllm_nodes could not be closed to others ({why})",
        "see what `iptables -S INPUT` and `ip6tables -S INPUT` say on this host: install iptables (`apt-get install"
        " iptables`), or load the kernel module that is missing; the service is not started with open ports",
        versions="the role vllm",
        known="seen",
        source="unit tests of the guard",
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
