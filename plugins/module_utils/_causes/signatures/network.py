# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network between hosts, and a port that is taken in the container."""

from __future__ import annotations

from ..entries import Signature

ENV = "vllm_extra_env"
INTERFACE = (
    "set NCCL_SOCKET_IFNAME (and GLOO_SOCKET_IFNAME) in vllm_extra_env to the interface that connects the hosts, and"
    " check"
    " its cable and address"
)

NETWORK: tuple[Signature, ...] = (
    Signature(
        "addr_in_use",
        "fatal",
        "network",
        ("address already in use", "eaddrinuse"),
        r"(?:\[Errno 98\] (?:error while attempting to bind on address .{0,80}: )?|ZMQError: |^)Address already in use"
        r"(?! and)|EADDRINUSE",
        "another process of the same network namespace holds the port",
        "see who holds it with `ss -ltnp`; stop that service or set another vllm_port; for a port between processes or"
        " hosts (tcp://...), set VLLM_PORT in vllm_extra_env or master_port in vllm_extra_args",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "addr_unusable",
        "fatal",
        "network",
        ("assign requested address", "zmqerror: no such device"),
        r"(?:\[Errno 99\] (?:error while attempting to bind on address (?P<bind>.{0,80}): )?|ZMQError: )"
        r"[Cc]annot assign requested address(?: \(addr='(?P<bind_2>[^']{1,80})'\))?|ZMQError: No such device",
        "vLLM is to listen on an address that this host or container does not have ({bind})",
        "correct host, master_addr or data_parallel_address in vllm_extra_args and VLLM_HOST_IP in vllm_extra_env: each"
        " names an address of the host that it is set on; vllm_publish_address is the one for clients",
        versions="vLLM 0.8 to 0.33",
        known="report",
        source="llm-d-incubation/llm-d-modelservice#7; errno 99",
    ),
    Signature(
        "rdma_memory",
        "exit",
        "network",
        ("ibv_reg_", "ibv_create_", "ibv_alloc_pd"),
        r"ibv_(?:reg_mr\w*|reg_dmabuf_mr|create_\w+|alloc_pd)[^\n]{0,40}? failed(?: with (?:error )?)?"
        r"[^\n]{0,12}?(?:Cannot allocate memory|ENOMEM|12\b)",
        "NCCL may not pin the memory that RDMA between the hosts needs",
        "keep memlock: -1 in vllm_ulimits on every host of the group; if `uname -r` says 7.0.0-1019-nvidia, boot that"
        " host with kernel 6.17.0-1032-nvidia or with kho=off on the kernel command line; else check for firmware"
        " updates (`fwupdmgr get-updates`). NCCL_IB_DISABLE: 1 in vllm_extra_env uses sockets until then, which is"
        " slower and keeps image and model",
        versions="NCCL 2.18 to 2.30 on ConnectX-7",
        known="report",
        source="NVIDIA/nccl-tests#206, MiaAI-Lab/DeepSeek-v4-Flash-DSpark-2x-DGX-Spark#259,"
        " eugr/spark-vllm-docker#392, NVIDIA's forum 383023",
        refines=("network", "nccl", "nccl_peer_lost"),
    ),
    Signature(
        "rdma_path",
        "exit",
        "network",
        ("ibv_modify_qp", "ibv_poll_cq", "ib_gid_index", "got completion from peer", "got async event"),
        r"ibv_modify_qp[^\n]{0,20} failed|NCCL WARN [^\n]{0,120}?Got completion from peer[^\n]{0,80}?(?:status|error)"
        r"|NCCL WARN [^\n]{0,120}?(?:NCCL_IB_GID_INDEX|ibv_poll_cq)[^\n]{0,60}?(?:invalid|failed|not)",
        "RDMA between the hosts does not work: the ports of the two hosts do not reach each other",
        "run playbooks/fabric.yml, which checks the links and addresses of both hosts; set NCCL_IB_HCA and"
        " NCCL_SOCKET_IFNAME in vllm_extra_env to the port that is cabled, and leave NCCL_IB_GID_INDEX unset."
        " NCCL_IB_DISABLE: 1 uses sockets until then",
        versions="NCCL 2.18 to 2.29",
        known="report",
        source="NCCL's documentation, troubleshooting of RoCE",
        unless=r"\bUCX\b",  # of a KV connector, which uses no NCCL
        refines=("network", "nccl", "nccl_peer_lost"),
    ),
    Signature(
        "interface_missing",
        "exit",
        "network",
        ("no socket interface found", "unable to find address for"),
        r"NCCL WARN .{0,120}?[Nn]o socket interface found|Unable to find address for: (?P<interface>\S{1,40})",
        "NCCL or Gloo is to use a network interface that this host does not have, or that has no address ({interface})",
        "look at `ip -br addr` on this host. If the interface is there without an address, check its link and cable,"
        " and run playbooks/fabric.yml. If it is not there, remove NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME and"
        " TP_SOCKET_IFNAME from vllm_extra_env: each host gets the interface with its vllm_node_address; if they are"
        " not set there, deploy again, as the interface was renamed",
        versions="NCCL 2.28.9 and 2.29.7, PyTorch 2.11 and 2.13",
        known="seen",
        source="two H200 processes of vLLM 0.24 and 0.32, with the name of an interface that does not exist",
        refines=("network", "nccl"),
    ),
    Signature(
        "nccl_mismatch",
        "exit",
        "network",
        ("message truncated", "message size truncated", " bytes instead of "),
        r"[Mm]essage (?:size )?truncated ?: ?receiv(?:ed|ing) \d+ bytes instead of \d+",
        "two processes of the group do not expect the same of each other: they run with different images, options or"
        " NCCL settings, or with different interfaces",
        "start all hosts of vllm_nodes with the same vllm_image (pinned by its digest), the same options, and the same"
        " NCCL_* variables in vllm_extra_env: deploy all of them in one run; then run playbooks/fabric.yml, which"
        " compares their links",
        versions="NCCL 2.7 to 2.29",
        known="report",
        source="NVIDIA/nccl#1176, #605",
        refines=("network", "nccl", "nccl_peer_lost"),
    ),
    Signature(
        "nccl_no_net",
        "exit",
        "network",
        ("failed to initialize any net plugin",),
        r"NCCL WARN Failed to initialize any NET plugin",
        "NCCL finds none of the ways to the other host that its variables allow: mostly, the container has no device"
        " for RDMA",
        "check that /dev/infiniband is there on every host of vllm_nodes (playbooks/fabric.yml checks its ports), and"
        " deploy all of them again, which gives it to the container; remove NCCL_NET, NCCL_NET_PLUGIN and NCCL_IB_HCA"
        " from vllm_extra_env. NCCL_IB_DISABLE: 1 uses sockets until then",
        versions="NCCL 2.27 to 2.30",
        known="report",
        source="getainode/ainode#87",
        refines=("network", "nccl"),
    ),
    Signature(
        "nccl_unsupported",
        "exit",
        "network",
        ("operation not supported",),
        r"NCCL WARN Cuda failure (?:801 )?'operation not supported'",
        "NCCL uses a way to share memory that this GPU or container does not offer",
        "set NCCL_NVLS_ENABLE: 0 in vllm_extra_env, and NCCL_CUMEM_ENABLE: 0 if it says the same then; that keeps image"
        " and model",
        versions="NCCL 2.19 to 2.30, CUDA 12 and 13",
        known="report",
        source="NCCL's documentation, NCCL_CUMEM_ENABLE and NCCL_NVLS_ENABLE; CUDA runtime API, error 801",
        refines=("network", "nccl"),
        sets=((ENV, "NCCL_NVLS_ENABLE", "0"),),
    ),
    Signature(
        "nccl_unreachable",
        "exit",
        "network",
        ("nccl warn",),
        r"NCCL WARN [^\n]{0,120}?connect[^\n]{0,40}?(?P<peer>\d[\w.:]{5,40}<\d+>)[^\n]{0,60}?"
        r"(?:failed|unreachable|No route to host|refused|timed? ?out)"
        r"|NCCL WARN [^\n]{0,120}?connect[^\n]{0,80}?(?:failed|unreachable|No route to host|refused|timed? ?out)"
        r"|NCCL WARN .{0,120}?Call to bind failed",
        "NCCL cannot reach the other host ({peer}): it uses the wrong interface, or the connection is down",
        INTERFACE,
        versions="NCCL 2.28 on a pair of Sparks",
        known="report",
        source="public log",
        refines=("network", "nccl"),
    ),
    Signature(
        "nccl_peer_lost",
        "exit",
        "network",
        ("remote process exited", "connection closed by remote peer", "ncclremoteerror", "by peer"),
        r"remote process exited or there was a network error|ncclRemoteError"
        r"|NCCL WARN .{0,120}?Connection closed by remote peer (?P<peer>\S{0,60})"
        r"|gloo/transport/[^\n]{0,120}?Connection (?:closed|reset) by peer",
        "the other host of the group ended, or the connection to it was lost",
        "diagnose the other host first: its log has the cause; then restart all hosts of vllm_nodes"
        " (playbooks/restart.yml). If none of them ended, check vllm_node_address, NCCL_SOCKET_IFNAME, cable and link"
        " of the interface between them",
        versions="NCCL 2.28.9 and 2.29.7, Gloo, vLLM 0.24 and 0.32",
        known="seen",
        source="two H200 processes of vLLM 0.24 and 0.32, one killed, stopped or failed",
        refines=("network", "nccl"),
    ),
    Signature(
        "group_gone",
        "retry",
        "network",
        ("flag on tcpstore", "failed on socketimpl"),
        r"Failed to check the \"should dump\" flag on TCPStore|(?:sendBytes|recvValue|recvVector) failed on SocketImpl",
        "the head of the group ended, or the connection to it was lost",
        "diagnose the other host first, the one with rank 0 (master_addr): its log has the cause; then start all hosts"
        " of the group again. Check NCCL_SOCKET_IFNAME in vllm_extra_env and the cable if none of them ended",
        versions="PyTorch 2.9 to 2.13",
        known="report",
        source="gpustack/gpustack#6019",
    ),
    Signature(
        "head_awaited",
        "retry",
        "network",
        ("the client socket has failed to connect", "tcp client failed to connect", "failed to connect to gcs at"),
        r"\[c10d\] (?:The client socket has failed to connect to any network address of [\[(]?(?P<head>[^)\s,]{1,80}"
        r"(?:, \d+)?)|TCP client failed to connect/validate to host (?P<head_2>\S{1,80}) - retrying)"
        r"|Failed to connect to GCS at address (?P<head_3>\S{1,80}) within \d{1,4} s",
        "the head of the group does not answer at {head}, and is tried again",
        "check that the first host of vllm_nodes runs, and that vllm_node_address and vllm_master_port are those of the"
        " head on every host; nothing has to be restarted once it answers",
        versions="PyTorch 2.11, Ray 2.58",
        known="seen",
        source="two H200 processes of vLLM 0.24, the head at an address that no host has; sandbox, journey ray",
    ),
    Signature(
        "nccl_timeout",
        "fatal",
        "network",
        ("watchdog caught collective operation timeout", "collective operation timeout", "workncclerror", "worknccl("),
        r"Watchdog caught collective operation timeout: WorkNCCL\(.{0,80}?OpType=(?P<operation>\w+)"
        r"(?:.{0,200}?ran for (?P<ms>\d+) milliseconds)?|collective operation timeout",
        "the hosts of the group stopped exchanging data in time ({operation}: nothing in {ms} ms)",
        "check that all hosts of the group run and log no error of their own; use an image with NCCL 2.29.3 or newer"
        " (NCCL 2.28.9 of vLLM 0.20 to 0.26 from pip deadlocks on this processor), set NCCL_SOCKET_IFNAME and, for NCCL"
        " 2.30.4, NCCL_NVLS_ENABLE: 0 in vllm_extra_env",
        versions="PyTorch 2, NCCL 2.28",
        known="report",
        source="vllm-project/vllm#41725, NVIDIA/nccl#2353, #2167",
        refines=("network", "nccl", "engine", "rpc_timeout"),
    ),
    Signature(
        "head_unreachable",
        "fatal",
        "network",
        (
            "client socket has timed out",
            "tcpstore",
            "client socket has failed",
            "server socket has failed",
            "timed out waiting for clients",
            "wait timeout after",
            "rendezvous",
            "distnetworkerror",
            "diststoreerror",
        ),
        r"(?:Dist(?:Network|Store)Error: )?(?:The )?client socket has (?:timed out(?: after (?P<ms>\d+) ?ms)?"
        r"|failed).{0,120}?(?:connect to (?:any network address of )?[\[(]?(?P<head>[^)\s,]{1,80}(?:, \d+)?)|$)"
        r"|TCPStore[^\n]{0,200}|server socket has failed to (?:listen|bind)[^\n]{0,120}|Timed out waiting for clients"
        r"|Dist(?:Network|Store)Error[^\n]{0,200}|wait timeout after \d+ ?ms",
        "the head of the group cannot be reached ({head})",
        "check that the first host of vllm_nodes runs and logs no error of its own; then vllm_node_address of all of"
        " them, vllm_master_port, the firewall, and the interface between them (NCCL_SOCKET_IFNAME,"
        " GLOO_SOCKET_IFNAME)",
        versions="PyTorch 2, vLLM 0.10 to 0.32",
        known="report",
        source="public log; torch/csrc/distributed/c10d/socket.cpp",
    ),
    Signature(
        "gloo_silent",
        "fatal",
        "network",
        ("timed out waiting",),
        r"gloo[^\n]{0,200}Timed out waiting (?P<time>\d+)ms for (?P<what>send|recv) operation",
        "another host of the group did not answer Gloo, which carries control messages, for {time} ms",
        "look at the other host first: its log, `dmesg` and `free -g` tell whether it ended, hangs or is out of memory;"
        " then check the firewall and the interface between the hosts (vllm_node_address), and deploy again",
        versions="PyTorch 2, vLLM 0.18 to 0.28 on two GB10",
        known="report",
        source="eugr/spark-vllm-docker#411; gloo/transport/tcp/unbound_buffer.cc",
    ),
    Signature(
        "gloo",
        "fatal",
        "network",
        ("gloo",),
        r"gloo[^\n]{0,300}?(?:Connection refused|timed? ?out|no error message"
        r"|(?:could not|cannot|unable to|failed to) connect)"
        r"[^\n]{0,120}|Gloo connectFullMesh failed",
        "Gloo, which the hosts use for control messages, cannot connect them",
        "check the log of the other host first; then set vllm_node_address on each host of vllm_nodes, which names the"
        " interface between them to vLLM (GLOO_SOCKET_IFNAME, VLLM_HOST_IP)",
        versions="PyTorch 2",
        known="report",
        source="gloo/transport/tcp",
    ),
    Signature(
        "ray_placement",
        "hint",
        "network",
        ("placement group", "exceeds available gpus", "no available node types"),
        r"[Ww]aiting for creating a placement group of specs for (?P<seconds>\d+) seconds"
        r"|(?:Tensor|Pipeline) parallel size \((?P<wanted>\d+)\) exceeds available GPUs \((?P<have>\d+)\)"
        r"|No available node types can fulfill",
        "Ray waits for GPUs: it has fewer than tensor_parallel_size asks for",
        "set tensor_parallel_size: 1 in vllm_extra_args (a Spark has one GPU), or start Ray on the other Spark and set"
        " VLLM_HOST_IP in vllm_extra_env on both",
        versions="vLLM 0.10 to 0.32 with Ray",
        known="report",
        source="public log; vllm/v1/executor/ray_utils.py",
    ),
    Signature(
        "ray_placement_failed",
        "fatal",
        "network",
        (
            "does not allocate any gpus",
            "available gpus in the placement group",
            "cannot provide a placement group",
            "placement group",
            "current node has no gpu",
            "unique ip address",
        ),
        r"Cannot provide a placement group[^\n]{0,200}|Ray does not allocate any GPUs[^\n]{0,120}"
        r"|[Cc]urrent node has no GPU available[^\n]{0,120}"
        r"|placement group[^\n]{0,120}?(?:timed out|failed|cannot be created|could not)"
        r"|number of available GPUs in the placement group"
        r"|Every node should have a unique IP address[^\n]{0,120}",
        "Ray cannot give vLLM the GPUs that tensor_parallel_size asks for",
        "set tensor_parallel_size: 1 in vllm_extra_args (a Spark has one GPU), or start Ray on the other Spark and"
        " set a"
        " VLLM_HOST_IP of its own in vllm_extra_env on each",
        versions="vLLM 0.10 to 0.32 with Ray",
        known="report",
        source="vllm/v1/executor/ray_utils.py",
    ),
    Signature(
        "ray_version",
        "fatal",
        "image",
        ("the cluster was started with",),
        r"(?<!patch )Version mismatch: The cluster was started with:?\s+Ray: (?P<head>[\w.]+)(?:[\s\S]{1,160}?"
        r"was started with:?\s+Ray: (?P<own>[\w.]+))?",
        "the hosts run different versions of Ray or Python (head: Ray {head}, this host: {own})",
        "start every host with the same vllm_image, pinned by its digest, and restart Ray on all of them",
        versions="Ray 2",
        known="report",
        source="ray/_private/utils.py, check_version_info",
    ),
    Signature(
        "ray_worker_died",
        "fatal",
        "memory",
        ("worker exit type: system_error", "connection error code 2"),
        r"Worker exit type: SYSTEM_ERROR|unexpectedly exits with a connection error code 2",
        "a worker of Ray ended and left no exception: it was killed for lack of memory, or crashed",
        "check `dmesg` for `out of memory` and Xid lines and `journalctl -u earlyoom` on the host that the line"
        " names; if"
        " one of them names vLLM or ray, lower vllm_gpu_memory_utilization or set RAY_memory_monitor_refresh_ms: 0 in"
        " vllm_extra_env",
        versions="Ray 2",
        known="report",
        source="OpenRLHF/OpenRLHF#265; Ray documentation, fault tolerance",
    ),
    Signature(
        "ray_other_image",
        "fatal",
        "image",
        ("raysystemerror: system error",),
        r"RaySystemError: System error: (?:No module named '(?P<module>[\w.]{1,80})'"
        r"|[^\n]{0,80}(?:object has no attribute|unpickl|deserializ)[^\n]{0,80})",
        "a process of Ray on one host cannot read what another one sent: their images, or the Python that started Ray,"
        " differ ({module})",
        "use the same vllm_image on every host, and start Ray in that image there too; or leave"
        " distributed_executor_backend out of vllm_extra_args: hosts that serve together (vllm_nodes) need no Ray",
        versions="Ray 2, vLLM 0.8",
        known="report",
        source="gpustack/gpustack#2415; vllm-project/vllm#15199",
    ),
    Signature(
        "ray_connect",
        "fatal",
        "network",
        (
            "the actor ",
            "the node ",
            "gcs",
            "could not find any running ray instance",
            "raylet",
            "ray.exceptions.",
        ),
        r"[Cc]ould not find any running Ray instance[^\n]{0,120}"
        r"|(?:[Ff]ailed|[Uu]nable) to connect to GCS(?! at address \S{1,80} within)[^\n]{0,160}"
        r"|The (?:node|actor) .{0,120}?(?:unexpectedly|died)[^\n]{0,120}|raylet[^\n]{0,160}?(?:died|crash|fail"
        r"|marked dead)[^\n]{0,80}"
        r"|ray\.exceptions\.(?:Raylet|RaySystem|NodeDied|LocalRaylet)\w*",
        "Ray on one of the hosts ended or cannot be reached",
        "look at the other hosts first: one that hangs, was rebooted or has no memory left (`dmesg`, `free -g`) does"
        " not answer; then check `ray status` on the head, VLLM_HOST_IP in vllm_extra_env of every host, and the"
        " firewall between the hosts; start Ray on the head first, then on the others",
        versions="Ray 2",
        known="report",
        source="Ray documentation, fault tolerance",
    ),
    Signature(
        "shm_broadcast",
        "hint",
        "network",
        ("no available shared memory broadcast block", "shared memory broadcast block found"),
        r"No available shared memory broadcast block found in (?P<seconds>\d+) ?(?:s\b|seconds)",
        "a process of vLLM has not answered for {seconds} s: it compiles, or hangs",
        "if it stays so: check the log of the other host, use an image with NCCL 2.29.3 or newer, set"
        " NCCL_SOCKET_IFNAME"
        " in vllm_extra_env; on one host, try enforce_eager: true in vllm_extra_args",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="vllm/distributed/device_communicators/shm_broadcast.py; NVIDIA/nccl#2353",
    ),
    Signature(
        "group_wait",
        "wait",
        "network",
        ("world_size=",),
        r"world_size=(?:[2-9]|\d\d+) rank=\d+ local_rank=\d+ distributed_init_method=(?P<method>\S+)",
        "the hosts of the group have not all come to {method}, where they meet",
        "look at the others first: one of them has failed or is not started. Otherwise vllm_master_port,"
        " vllm_node_address of the head or the firewall keeps them apart",
        versions="vLLM 0.24",
        known="seen",
        source="two H200 processes of vLLM 0.24, one failed, absent, or with another port",
    ),
    Signature(
        "collective_wait",
        "wait",
        "network",
        ("vllm is using nccl==", "init start"),
        r"vLLM is using nccl==(?P<version>[\d.]+)|ncclCommInitRank\w* .{0,200}?Init START",
        "the hosts of the group do not get past their first exchange of data",
        "check that the other host is started with the same image and options; set NCCL_SOCKET_IFNAME,"
        " GLOO_SOCKET_IFNAME and VLLM_HOST_IP in vllm_extra_env; use an image with NCCL 2.29.3 or newer, and set"
        " NCCL_NVLS_ENABLE: 0 in vllm_extra_env for NCCL 2.30.4",
        versions="vLLM 0.20 to 0.26 (NCCL 2.28.9), NGC 26.06 (NCCL 2.30.4)",
        known="report",
        source="NVIDIA/nccl#2353, #2167; vllm-project/vllm#41725",
    ),
    Signature(
        "nccl",
        "exit",
        "network",
        (
            "nccl error",
            "ncclsystemerror",
            "ncclunhandledcudaerror",
            "ncclinternalerror",
            "ncclinvalid",
            "distbackenderror",
            "nccl warn",
        ),
        r"NCCL error(?: in)?:|nccl(?:System|UnhandledCuda|Internal|InvalidUsage|InvalidArgument)Error|DistBackendError"
        r"|NCCL WARN (?P<detail>(?!.{0,40}(?:NET/|No device|environment|MNNVL)).{1,200}?(?:fail(?:ed|ure)|error)"
        r".{0,120})",
        "NCCL, which connects the GPUs of a group, failed: {detail}",
        "check the log of the other host first; keep vllm_ipc: host, set NCCL_SOCKET_IFNAME to the interface between"
        " the hosts and NCCL_DEBUG: INFO in vllm_extra_env, and deploy again: NCCL then tells more",
        versions="driver, CUDA, PyTorch",
        known="report",
        source="PyTorch, ProcessGroupNCCL",
        generic=True,
        refines=("nccl",),  # NCCL's own line says more than the exception
    ),
)
