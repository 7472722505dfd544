# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model together: vLLM's own distributed executor, or Ray where the image has only that. Pure.

Either way one process a host, a rank each.
"""

from __future__ import annotations

import posixpath
import re
import typing as t

from .._catalog.fields import Entry
from .._catalog.images import NGC, split_reference
from .._catalog.vllm_options import tokens_of, version_key
from .._common.text import show
from . import ray, twins
from .choice import Values
from .settings import Layer

# How vLLM divides a model among the hosts. Together they must be as many as the hosts: a Spark has one GPU.
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size")
# NCCL finds it by itself since 2.21, and a number that was right once does not stay so.
GID_INDEX = "NCCL_IB_GID_INDEX"
# What names the interface to NCCL, Gloo and the tensor pipe.
INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
# S: NVIDIA/nccl issue 2353, bisected on pip's wheels for aarch64: 2.29.2 and older end in a rank that spins for ever.
# The release notes blame an old compiler (gcc before 10); NVIDIA's own images are not reported to have the fault.
NCCL_HOLDS = "2.29.3"
# S: NVIDIA/nccl issue 2167: this one hangs while weights are loaded, unless NVLS is off.
NCCL_NVLS = "2.30.4"

# What the container keeps over restarts, and where vLLM writes what FlashInfer has tuned, below VLLM_CACHE_ROOT. The
# guard of the service removes it where it is unless told otherwise.
CACHE = "/root/.cache"
TUNED = "flashinfer_autotune_cache"

HostState = t.Mapping[str, t.Any]  # what the module spark_info returns in spark; empty if the host was not read


class Node(t.NamedTuple):
    host: str  # its name in the inventory
    address: str  # vllm_node_address; empty if nobody asked the inventory


class Nodes(t.NamedTuple):
    """The hosts in the order of their ranks; none where a host serves alone."""

    members: tuple[Node, ...] = ()
    rank: int = 0
    by_ray: bool = False  # the image decides

    @property
    def number(self) -> int:
        return max(1, len(self.members))

    @property
    def address(self) -> str:
        return self.members[self.rank].address if self.members else ""

    @property
    def head(self) -> str:
        return self.members[0].address if self.members else ""

    @property
    def ray_bytes(self) -> int:
        """What Ray takes of the memory, beside vLLM."""
        return ray.MEMORY_BYTES if self.by_ray else 0


class Container(t.NamedTuple):
    """One of those that a host runs for the service."""

    name: str
    entrypoint: list[str]  # empty: that of the image
    command: list[str]
    after: str = ""  # another one, which has to be healthy first
    check: list[str] = []  # what says so, run in that one
    check_seconds: int = 0


def by_name(values: Values) -> Nodes:
    """Without the inventory: how many there are, and as the head sees it."""
    return Nodes(tuple(Node(str(name), "") for name in values["vllm_nodes"]))


def is_worker(host: str, values: Values) -> bool:
    """Whether the API that the host belongs to is that of another one."""
    return values["vllm_nodes"][:1] not in ([], [host])


def interface(nodes: Nodes, host: HostState) -> str:
    """The interface with the address of this host; empty if the host was not read, or has no such address."""
    found = (each["name"] for each in host.get("interfaces") or [] if nodes.address in each["addresses"])
    return next(found, "")


def problem(nodes: Nodes, host: HostState) -> str:
    """One line, if no interface of the host has the address. Nothing of a host that was not read."""
    known = host.get("interfaces") or []
    if not (nodes.address and known) or interface(nodes, host):
        return ""
    listed = ", ".join(f"{address} ({each['name']})" for each in known for address in each["addresses"])
    return (
        f"vllm_node_address: {nodes.address} is on no interface of {nodes.members[nodes.rank].host}; set it to one of"
        f" its addresses, which are {listed}"
    )


def spans(nodes: Nodes) -> dict[str, int]:
    """Of how many hosts a fault may be only_with: those that serve by Ray have no such option."""
    return {"nnodes": nodes.number} if nodes.members else {}


def faults(nodes: Nodes, host: HostState, environment: t.Mapping[str, t.Any]) -> list[dict[str, str]]:
    """What makes them slow, with the remedy, as host_faults() has it."""
    if not (nodes.members and host.get("is_spark")):
        return []
    found = list(twins.faults(interface(nodes, host), host, environment))
    if host.get("infiniband"):
        return found
    what = "no device for RDMA in /dev/infiniband, so the traffic between the hosts of vllm_nodes goes over sockets"
    return [{"what": what, "remedy": "Load the kernel modules mlx5_ib and ib_uverbs, and deploy again"}, *found]


def devices(nodes: Nodes, host: HostState) -> list[str]:
    """What the container gets of the host for RDMA. Without it NCCL uses sockets."""
    return ["/dev/infiniband"] if nodes.members and host.get("infiniband") else []


def tuned_folder(environment: t.Mapping[str, t.Any]) -> tuple[str, str]:
    """The variable that decides where vLLM writes what FlashInfer has tuned, and the folder in the container."""
    below = {"VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "", "VLLM_CACHE_ROOT": TUNED, "XDG_CACHE_HOME": f"vllm/{TUNED}"}
    name = next((name for name in below if environment.get(name)), "XDG_CACHE_HOME")
    root = re.sub(r"^~(?=/|$)", posixpath.dirname(CACHE), str(environment.get(name) or CACHE))
    return name, posixpath.normpath(posixpath.join(root, below[name]))


def parallel(args: t.Mapping[str, t.Any]) -> int:
    """Among how many hosts the options divide the model."""
    product = 1
    for name in PARALLEL:
        product *= tokens_of(args.get(name)) or 1
    return product


def heads_problem(model: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any]) -> str:
    """One line, if tensor parallelism cannot divide the heads of a model among its ranks."""
    ranks = tokens_of(args.get(PARALLEL[0])) or 1
    heads, kept = model.get("attention_heads"), model.get("kv_heads")
    if heads and heads % ranks:
        what = f"{heads} heads"
    elif not model.get("latent_dim") and kept and kept % ranks and ranks % kept:
        what = f"{kept} KV heads"
    else:
        return ""
    without = f" without {PARALLEL[0]}" if ranks < parallel(args) else ""
    return (
        f"vllm_nodes: {ranks} hosts cannot divide the {what} of {model['name']}; use another number of hosts, or"
        f" pipeline_parallel_size: {parallel(args)} in vllm_extra_args{without}"
    )


def nccl_problem(
    values: Values, image: Entry, nccl: str | None, environment: t.Mapping[str, t.Any], instead: str
) -> str:
    """One line, if hosts that serve together hang with this NCCL of the image."""
    if not nccl:
        return ""
    ref = show(image["ref"])
    is_accepted = split_reference(image["ref"])[1] == NGC or "avoid" in (values["vllm_image_allow"] or [])
    if version_key(nccl) < version_key(NCCL_HOLDS) and not is_accepted:
        return (
            f"vllm_image: {ref} has NCCL {nccl}, with which hosts that serve together hang after a while (before"
            f" {NCCL_HOLDS}); use {instead}, or set vllm_image_allow: [avoid]"
        )
    if nccl == NCCL_NVLS and str(environment.get("NCCL_NVLS_ENABLE")) != "0":
        return (
            f"vllm_extra_env.NCCL_NVLS_ENABLE: is not 0, and with NCCL {nccl} of {ref} hosts that serve together hang"
            ' at the start; set it to "0"'
        )
    return ""


def environment(values: Values, nodes: Nodes, host: HostState) -> Layer:
    """Below vllm_extra_env: somebody may know a better interface."""
    if not nodes.members:
        return Layer("vllm_node_address")
    own, name = ({"VLLM_HOST_IP": nodes.address} if nodes.address else {}), interface(nodes, host)
    # the log says at the start whether NCCL uses RDMA
    found = {**own, **(dict.fromkeys(INTERFACES, name) if name else {}), "NCCL_DEBUG": "INFO"}
    if nodes.by_ray:
        found.update(ray.environment(nodes.head, values["vllm_master_port"]))
    return Layer("vllm_node_address", environment=found)


def options(values: Values, nodes: Nodes, args: t.Mapping[str, t.Any]) -> t.Iterator[Layer]:
    """Above all other layers. The network is that of the host: of a worker nothing but the ranks listens on it."""
    if not nodes.members:
        return
    size = {} if parallel(args) > 1 else {"tensor_parallel_size": nodes.number}
    api = {"host": values["vllm_publish_address"], "port": values["vllm_port"]}
    if nodes.by_ray:  # it starts the ranks, and all hosts have the same command line
        yield Layer("vllm_nodes", args={**size, "distributed_executor_backend": "ray", **api})
        return
    ranks = {"nnodes": nodes.number, "node_rank": nodes.rank}
    master = {"master_addr": nodes.head, "master_port": values["vllm_master_port"]}
    backend = {"distributed_executor_backend": "mp"}
    yield Layer(
        "vllm_nodes", args={**size, **ranks, **master, **backend, **({"headless": True} if nodes.rank else api)}
    )


def containers(values: Values, nodes: Nodes, serve: Container, image: Entry, has_gpu: bool) -> list[Container]:
    """SERVE is that of `vllm serve`. The one that bears its name is what programs on the host look at."""
    if not nodes.by_ray:
        return [serve]
    command = ray.start(nodes.address, nodes.head, values["vllm_master_port"], has_gpu)
    # an image that starts `vllm serve` by itself starts Ray in its place; any other one keeps what prepares its own
    entrypoint = [] if image["command_prefix"] and not serve.entrypoint else command[:1]
    started = Container(serve.name, entrypoint, command[len(entrypoint) :])
    if nodes.rank:
        return [started]
    name = f"{serve.name}-ray"
    beside = started._replace(name=name, check=ray.check(nodes.number), check_seconds=ray.JOIN_SECONDS)
    return [serve._replace(after=name), beside]


def facts(values: Values, nodes: Nodes) -> dict[str, t.Any]:
    """What programs on the host have to know of it; nothing of one that serves alone."""
    port = values["vllm_master_port"]
    addresses = [node.address for node in nodes.members]
    if not addresses:
        return {}
    # anybody who reaches Ray runs code in its containers; vLLM's ranks ask no one who they are, either
    closed = ray.ports(port) if nodes.by_ray else (port, port)
    return {"nodes": addresses, "rank": nodes.rank, "master_port": port, "closed_ports": list(closed)}
