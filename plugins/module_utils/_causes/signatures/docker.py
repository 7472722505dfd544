# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker and the container toolkit: the container never started."""

from __future__ import annotations

from ..entries import Signature

TOOLKIT = "run playbooks/prepare.yml: the role container_runtime installs and registers the NVIDIA container toolkit"

DOCKER: tuple[Signature, ...] = (
    Signature(
        "docker_no_gpu_runtime",
        "fatal",
        "docker",
        ("could not select device driver",),
        r"could not select device driver [\"'\\]*(?P<driver>\w*)[\"'\\]* with capabilities: \[\[gpu",
        "Docker has no GPU runtime or CDI support, so the GPU reservation cannot be met",
        f"{TOOLKIT} (vllm_gpu selects nvidia or cdi)",
        versions="Docker 26 to 29",
        known="seen",
        source="sandbox, journey faults",
    ),
    Signature(
        "docker_unknown_runtime",
        "fatal",
        "docker",
        ("unknown or invalid runtime name", "unknown runtime specified", "nvidia-container-runtime"),
        r"(?:unknown or invalid runtime name:|Unknown runtime specified) *(?P<runtime>[\w.-]+)"
        r"|exec: \"?(?P<program>[\w/.-]*nvidia-container-runtime[\w.-]*)\"?: executable file not found",
        "Docker does not know the runtime that the container asks for: the NVIDIA runtime is not registered",
        f"{TOOLKIT} and restarts Docker; or set vllm_gpu: cdi",
        versions="Docker 17 to 29",
        known="seen",
        source="sandbox, journey faults; NVIDIA/nvidia-container-toolkit#150, dusty-nv/jetson-containers#1460",
    ),
    Signature(
        "docker_no_cdi_device",
        "fatal",
        "docker",
        (
            "unresolvable cdi devices",
            "cdi device injection failed",
            "failed to inject cdi devices",
            "failed to discover gpu vendor from cdi",
        ),
        r"(?:CDI device injection failed: )?unresolvable CDI devices (?P<devices>\S+)|(?:CDI device injection failed"
        r"|failed to inject CDI devices|failed to discover GPU vendor from CDI)",
        "Docker found no CDI specification of the GPU ({devices})",
        "run playbooks/prepare.yml, or `systemctl restart nvidia-cdi-refresh.service` on the host, or set"
        " vllm_gpu: nvidia",
        versions="Docker 26 to 29",
        known="seen",
        source="sandbox, journey faults",
        unless=r"failed to stat CDI host device",
    ),
    Signature(
        "docker_cdi_stale",
        "fatal",
        "docker",
        ("failed to fulfil mount request", "error mounting", "failed to stat cdi host device"),
        r"failed to stat CDI host device \"?(?P<path_2>/dev/[^\"\s:]{1,100})"
        r"|(?:failed to fulfil mount request: open|error mounting) \"?"
        r"(?P<path>/usr/(?:lib|bin|local|share)/[^\s\":]{0,200}(?:nvidia|cuda|nvoptix"
        r"|vdpau)[^\s\":]{0,100})\"?[^\n]{0,200}?no such file",
        "the CDI specification of the GPU names a file that this host does not have any more: {path}",
        "run `systemctl restart nvidia-cdi-refresh.service` on the host, or playbooks/prepare.yml, which write"
        " it again,"
        " and deploy again; reboot the host after a driver update",
        versions="NVIDIA container toolkit 1.17 to 1.19, Docker 26 to 29",
        known="report",
        source="NVIDIA container toolkit documentation, CDI",
    ),
    Signature(
        "docker_port_in_use",
        "fatal",
        "docker",
        ("port is already allocated", "failed to bind host port", "bind for ", "error starting userland proxy"),
        r"port is already allocated|Bind for \S+ failed"
        r"|(?:failed to bind host port|Error starting userland proxy:) .{0,80}?address already in use",
        "the port is taken on the host, so Docker did not start the container",
        "see who holds it with `ss -ltnp`; stop that service or set another vllm_port",
        versions="Docker 20 to 29",
        known="seen",
        source="sandbox, journey faults",
    ),
    Signature(
        "docker_iptables",
        "fatal",
        "docker",
        ("iptables", "nftable", "ip6tables"),
        r"(?:iptables failed|ip6?tables: No chain/target/match|nftables?[^\n]{0,80}?(?:failed"
        r"|No such file))[^\n]{0,60}",
        "Docker could not write its rules of the firewall: another program has removed Docker's chains since"
        " Docker started",
        "run `systemctl restart docker` on the host, which writes them again, and deploy again; a firewall that"
        " is reloaded"
        " later needs the same",
        versions="Docker 20 to 29",
        known="report",
        source="moby/moby, bridge driver",
        unless=r"do you need to insmod|can't initialize iptables",
    ),
    Signature(
        "docker_kernel_module",
        "fatal",
        "docker",
        ("do you need to insmod", "can't initialize iptables", "pair interfaces: operation not supported"),
        r"can't initialize iptables table `?(?P<module>\w{1,32})|do you need to insmod"
        r"|pair interfaces: operation not supported",
        "the running kernel lacks a module that Docker's networks need ({module}): mostly it was updated, and the host"
        " was not rebooted since",
        "reboot the host, and deploy again; if it happens again, the kernel was built without that module: install the"
        " kernel of DGX OS",
        versions="Docker 20 to 29",
        known="report",
        source="moby/moby#49557",
    ),
    Signature(
        "docker_bridge",
        "fatal",
        "docker",
        ("could not find bridge", "to bridge "),
        r"could not find bridge (?P<bridge>[\w.-]{1,32})|to bridge (?P<bridge_2>[\w.-]{1,32}) failed",
        "Docker's network bridge {bridge} is gone from the host: another program has removed it since Docker started",
        "run `systemctl restart docker` on the host, which makes it again, and deploy again; a program that manages the"
        " network must leave Docker's interfaces alone",
        versions="Docker 20 to 29",
        known="report",
        source="moby/moby, bridge driver",
    ),
    Signature(
        "compose_property",
        "fatal",
        "docker",
        ("additional propert", "unsupported config option"),
        r"(?:services|networks|volumes)\.[\w.-]{1,120} Additional propert(?:y|ies) (?P<property>[\w.-]{1,60})"
        r" (?:is|are) not allowed|Unsupported config option for [\w.'-]{1,80}: '?(?P<property_2>[\w.-]{1,60})",
        "Docker Compose of this host does not know {property} of the service file",
        "install the Compose plugin that belongs to this Docker (docker-compose-plugin), and deploy again;"
        " playbooks/prepare.yml checks it. A compose.yaml that was edited by hand is written again by a deployment",
        versions="Docker Compose 1 and 2",
        known="report",
        source="langflow-ai/openrag#779",
    ),
    Signature(
        "docker_memory",
        "fatal",
        "memory",
        ("cannot allocate memory",),
        r"(?:fork/exec|failed to start shim|OCI runtime|runc)[^\n]{0,400}?cannot allocate memory",
        "the host had no memory left to create the container",
        "stop what uses the memory (`free -g`, `nvidia-smi` and `docker ps` on the host show it), or lower"
        " vllm_gpu_memory_utilization of the service that holds it; then deploy again",
        versions="Docker 20 to 29, containerd",
        known="report",
        source="errno 12; containerd's shim",
    ),
    Signature(
        "docker_certificate",
        "fatal",
        "docker",
        ("x509: ",),
        r"x509: (?P<what>certificate (?:has expired or is not yet valid|signed by unknown authority"
        r"|is (?:valid for|not valid))[^\n]{0,120})",
        "Docker does not trust the registry: {what}",
        "check the clock of the host (`timedatectl`; chrony sets it) if the time in the message is wrong; put the"
        " certificate of a proxy or of your own registry where the host trusts it (update-ca-certificates), and restart"
        " Docker; then deploy again",
        versions="Docker 20 to 29",
        known="report",
        source="Go, crypto/x509; Docker's documentation of registries",
    ),
    Signature(
        "docker_name_in_use",
        "fatal",
        "docker",
        ("is already in use by container",),
        r"container name \"?/?(?P<name>[\w.-]+)\"? is already in use by container",
        "another container has the name {name}",
        "remove it with `docker rm -f {name}` if it is not needed, or set another vllm_container_name",
        versions="Docker 20 to 29",
        known="report",
        source="Docker's documentation of `docker run --name`",
    ),
    Signature(
        "docker_ulimit",
        "fatal",
        "docker",
        ("error setting rlimit",),
        r"error setting rlimit type (?P<type>\d+): operation not permitted",
        "this host may not grant a limit that the container asks for (rlimit type {type}; 8 is memlock, 3 is stack)",
        "lower it in vllm_ulimits, for example memlock: 8388608",
        versions="Docker 26",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "docker_image_arch",
        "fatal",
        "docker",
        (
            "no matching manifest for",
            "does not match the detected host platform",
            "does not match the specified platform",
        ),
        r"no matching manifest for (?P<platform>\S+)|platform \((?P<other>[^)]{1,40})\) does not match the"
        r" (?:detected host|specified) platform",
        "the image was not built for the processor of this host (arm64)",
        "use an arm64 image of the catalog (vllm_image), for example a tag that ends in -aarch64",
        versions="Docker 20 to 29",
        known="report",
        source="Docker's registry protocol",
    ),
    Signature(
        "docker_image",
        "fatal",
        "docker",
        (
            "manifest unknown",
            "pull access denied",
            "no such image",
            "manifest for ",
            "unauthorized: ",
            "authentication required",
            "repository does not exist",
            "name unknown",
            "failed to authorize",
            "failed to fetch oauth token",
            "failed to fetch anonymous token",
        ),
        r"manifest unknown|manifest for \S+ not found|pull access denied for (?P<image>\S+?),|No such image"
        r"|(?:Head|Get|from daemon:?|denied:) .{0,300}?unauthorized: |unauthorized: authentication required"
        r"|repository does not exist|name unknown: "
        r"|failed to (?:authorize|fetch (?:oauth|anonymous) token)[^\n]{0,600}? (?:401 Unauthorized|403 Forbidden)",
        "the image cannot be pulled",
        "check vllm_image (and vllm_image_registry), and log in to the registry if it requires it",
        versions="Docker 26; containerd's image store",
        known="seen",
        source="sandbox, journey rollback",
    ),
    Signature(
        "docker_pull_limit",
        "fatal",
        "docker",
        ("toomanyrequests", "pull rate limit"),
        r"toomanyrequests: |pull rate limit",
        "the registry refuses more pulls from this address for now",
        "log in to the registry on the host, set vllm_image_registry to a mirror, or deploy again later",
        versions="Docker Hub",
        known="report",
        source="Docker Hub's documentation of pull limits",
    ),
    Signature(
        "docker_registry_network",
        "fatal",
        "docker",
        (
            "dial tcp",
            "tls handshake timeout",
            "client.timeout exceeded",
            "request canceled",
            "unexpected eof",
            "i/o timeout",
            "connection reset",
            "eof",
        ),
        r"(?:Get|Head) \"?https?://[^\s\"]{1,300}\"?: .{0,200}?(?:dial tcp|TLS handshake timeout|i/o timeout"
        r"|Client\.Timeout exceeded|request canceled|EOF|connection reset)"
        r"|failed to (?:pull|copy|do request).{0,300}?(?:dial tcp|TLS handshake timeout|unexpected EOF"
        r"|connection reset)"
        r"|dial tcp: lookup \S+.{0,80}?(?:no such host|i/o timeout|server misbehaving)",
        "Docker cannot reach the registry of the image",
        "check name resolution, proxy and firewall of the host (Docker's proxy is set in its systemd unit), or set"
        " vllm_image_registry to a mirror; then deploy again",
        versions="Docker 20 to 29",
        known="report",
        source="moby/moby, errors of its registry client",
        retry=True,
    ),
    Signature(
        "docker_disk_full",
        "fatal",
        "docker",
        ("no space left on device",),
        r"(?:failed to register layer|failed to extract layer|failed to copy|failed to prepare"
        r"|error creating (?:overlay|temporary)|Error processing tar file|failed to create shim"
        r"|failed to create (?:endpoint|rwlayer)|/var/lib/(?:docker|containerd))"
        r".{0,600}?no space left on device",
        "the disk with Docker's data (/var/lib/docker) is full",
        "free space there: `docker system df` shows what uses it, `docker image prune` removes unused images; or move"
        " Docker's data to a larger disk (data-root of daemon.json)",
        versions="Docker 20 to 29, containerd",
        known="report",
        source="moby/moby, layer store",
    ),
    Signature(
        "docker_layer",
        "fatal",
        "docker",
        ("failed to register layer", "failed to extract layer", "failed to get stream processor"),
        r"failed to (?:register|extract) layer[^\n]{0,200}?: (?P<what>[^:\n]{3,80})(?:: unknown)?$",
        "Docker could not unpack the image ({what})",
        "check `dmesg` for a process that was killed or a failing disk, remove the image with `docker image rm`, and"
        " deploy again, which pulls it again",
        versions="Docker 20 to 29, containerd",
        known="report",
        source="moby/moby and containerd, unpacking of layers",
        generic=True,
    ),
    Signature(
        "docker_transient",
        "fatal",
        "docker",
        ("connection reset by peer", "oci runtime create failed", "oci runtime start failed", "ttrpc", "shim"),
        r"OCI runtime (?:create|start) failed.{0,400}?(?:read init-p: (?:connection reset by peer|EOF)"
        r"|write init-p: broken pipe|resource temporarily unavailable)"
        r"|(?:ttrpc: closed|shim.{0,80}?(?:context deadline exceeded|connection refused|exited unexpectedly))",
        "Docker could not create the container, for a passing reason",
        "deploy again; if it happens again, check `journalctl -u docker` and `dmesg` on the host",
        versions="Docker 26, runc 1.1",
        known="seen",
        source="sandbox, journey download",
        generic=True,
        retry=True,
    ),
    Signature(
        "docker_mount",
        "fatal",
        "docker",
        (
            "error while creating mount source path",
            "bind source path does not exist",
            "invalid mount config",
            "error mounting",
            "are you trying to mount",
        ),
        r"error while creating mount source path(?: '(?P<path_3>[^'\n]{1,200})')?"
        r"|invalid mount config(?:[^\n]{0,60}?does not exist: (?P<path_2>\S{1,200}))?"
        r"|bind source path does not exist: (?P<path>\S{1,200})"
        r"|error mounting \"?(?P<source>[^\s\"]+)"
        r"|Are you trying to mount a directory onto a file",
        "a folder or file that the container mounts is missing on the host, or has the wrong type",
        "correct vllm_mounts if it names what is missing ({path}); else run playbooks/prepare.yml, which creates"
        " hf_cache_path and vllm_home, and deploy again",
        versions="Docker 20 to 29, runc",
        known="report",
        source="moby/moby, runc",
        unless=r"nvidia-persistenced/socket",
    ),
    Signature(
        "docker_device",
        "fatal",
        "docker",
        ("error gathering device information",),
        r"error gathering device information while adding custom device \"(?P<device>[^\"\n]{1,200})\":"
        r"[^\n]{0,220}? no such file or directory",
        "a device that the container is given is not on the host any more ({device})",
        "load its driver (of /dev/infiniband: `modprobe -a mlx5_ib ib_uverbs`) or reboot the host; deploy again, which"
        " gives the container only the devices that are there",
        versions="Docker 20 to 29",
        known="source",
        source="moby/moby, daemon/oci_linux.go",
    ),
    Signature(
        "docker_command",
        "fatal",
        "docker",
        ("executable file not found", "exec format error", "exec: ", "no such file or directory: unknown"),
        r"exec: \"?(?P<command>[^\":]+)\"?: (?:executable file not found|stat .{0,200}?no such file|permission denied)"
        r"|exec format error",
        "the image cannot run the command: it is not in the image, or was built for another processor",
        "use an image of the catalog (vllm_image) built for arm64, with the entry point that its entry names",
        versions="Docker 26",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "entry_point_command",
        "fatal",
        "image",
        ("not found", "cannot execute", "bin/env: "),
        r"(?:line \d+|sh): (?:\d+: )?(?:exec: )?(?P<command>vllm|python3?|uv|ray|bash): (?:command )?not found"
        r"|(?:line \d+|sh): (?:\d+: )?(?:exec: )?(?P<command_2>/?[\w./-]{1,80}): cannot execute[^\n]{0,60}"
        r"|bin/env: '(?P<command_3>[^'\n]{1,60})': No such file",
        "the entry point of the image cannot run {command}: it is not in the image, or not in its PATH",
        "use an image of the catalog (vllm_image); of another one set vllm_entrypoint to the whole path of the command",
        versions="any shell",
        known="report",
        source="POSIX shell, exit codes 126 and 127",
    ),
    Signature(
        "threads_forbidden",
        "fatal",
        "docker",
        ("std::system_error",),
        r"std::system_error[\s\S]{0,40}?Operation not permitted",
        "the program may not start a thread: mostly, Docker is older than the C library of the image, and its filter of"
        " system calls forbids a call that it does not know",
        "update Docker, containerd and libseccomp2 on the host (playbooks/maintain.yml updates its packages), restart"
        " Docker, and deploy again; or use an older vllm_image",
        versions="Docker before 20.10.10 with images of glibc 2.34 and newer",
        known="report",
        source="vllm-project/vllm#14416; moby/moby, clone3 in the seccomp profile",
    ),
    Signature(
        "docker_permission",
        "fatal",
        "docker",
        ("permission denied while trying to connect to the docker",),
        r"permission denied while trying to connect to the Docker",
        "this user may not use Docker",
        "set become: true for this task",
        versions="Docker 20 to 29",
        known="report",
        source="Docker's documentation, post-installation steps",
    ),
    Signature(
        "docker_down",
        "fatal",
        "docker",
        ("cannot connect to the docker daemon", "is the docker daemon running"),
        r"Cannot connect to the Docker daemon|Is the docker daemon running",
        "the Docker daemon is not running",
        "start it with `systemctl start docker` and check `journalctl -u docker`; playbooks/prepare.yml sets it up",
        versions="Docker 26",
        known="seen",
        source="sandbox, journey faults",
    ),
    Signature(
        "docker_cgroup",
        "fatal",
        "docker",
        ("cgroup", "oci runtime create failed", "oci runtime start failed"),
        r"OCI runtime (?:create|start) failed.{0,400}?(?:unable to apply cgroup|failed to (?:create"
        r"|write).{0,80}?cgroup"
        r"|unable to start unit)",
        "the host did not grant the container its control group",
        "deploy again; if it happens again, `systemctl restart docker` on the host, and check `journalctl -u docker`",
        versions="runc 1.1",
        known="source",
        source="opencontainers/runc, libcontainer/cgroups",
        retry=True,
    ),
)
