# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a DGX Spark says about itself: parsers of files and of commands' output.

PRIVATE to this collection; it can change at any time. Every parser is pure (text in, plain data out) and answers None,
or an empty value, to text that it does not understand: the module never crashes on a half-installed host.
"""

from __future__ import annotations

import os
import re
import typing as t

from .._outside.text import plain
from .._outside.values import mapping, parse_json, real, sequence, whole
from .._outside.values import text as string
from .addresses import EVERYWHERE, from_proc, meet
from .services import RELEASE_LABEL, SERVICE_LABEL, has_cache_of, home_of, is_ours

GPU_FIELDS = "name,driver_version,utilization.gpu,temperature.gpu,power.draw,clocks.current.sm"

CHIP = "GB10"
# A GB10 that is fully busy runs its SMs at 2400 MHz and more. In the degraded power state (USB-PD) it is capped at 500
# to 850 MHz. Both published by owners of the machine; 1500 MHz under load tells the two apart. Idle clocks say nothing.
BUSY_PERCENT = 80
HEALTHY_SM_CLOCK_MHZ = 1500

# A busy host that was set up well was measured to keep 4 GiB available, and earlyoom ends vLLM below 2 GiB (role
# spark_host). What is between the two is worth a word: there is still time to give vLLM less.
LOW_MEMORY_BYTES = 3 * 1024**3

# The adapters' own names say nothing to most people: hca_type of /sys/class/infiniband -> name of the product.
HCA_NAMES = {"MT4129": "connectx7"}

PACKAGES = (
    "docker.io",
    "docker-ce",
    "docker-compose",
    "docker-compose-v2",
    "docker-compose-plugin",
    "nvidia-container-toolkit",
    "earlyoom",
)

# Options of `docker ps` for container_of().
LIST_CONTAINERS = ("--no-trunc", "--format", r"{{.ID}}\t{{.Names}}\t{{.Ports}}")

Facts = dict[str, t.Any]


def parse_assignments(text: str) -> dict[str, str]:
    """Lines of KEY="value", as in os-release. The last one wins: dgx-release repeats its OTA lines, oldest first."""
    found = {}
    for line in text.splitlines():
        key, sign, value = line.strip().partition("=")
        if sign and re.fullmatch(r"\w+", key):
            found[key] = plain(value.strip().strip("\"'").strip())
    return found


def parse_os(os_release: str | None, dgx_release: str | None, kernel: str) -> Facts:
    release = parse_assignments(os_release or "")
    dgx = {
        key[len("DGX_") :].lower(): value
        for key, value in parse_assignments(dgx_release or "").items()
        # The serial number identifies a machine and is of no use here: results end up in logs and bug reports.
        if key.startswith("DGX_") and key != "DGX_SERIAL_NUMBER"
    }
    return {
        "id": release.get("ID"),
        "version_id": release.get("VERSION_ID"),
        "codename": release.get("VERSION_CODENAME"),
        "pretty_name": release.get("PRETTY_NAME"),
        "dgx_release": dgx or None,
        "kernel": kernel,
    }


def parse_meminfo(text: str) -> dict[str, int]:
    kib = {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d{1,15}) kB$", text, re.MULTILINE)}

    def size(*names: str) -> int:
        return sum(kib.get(name, 0) for name in names) * 1024

    return {
        "total_bytes": size("MemTotal"),
        "free_bytes": size("MemFree"),
        "available_bytes": size("MemAvailable"),
        # Shared memory is counted as cached by the kernel, but dropping the cache does not give it back.
        "page_cache_bytes": max(0, size("Buffers", "Cached") - size("Shmem")),
        "swap_total_bytes": size("SwapTotal"),
        "swap_free_bytes": size("SwapFree"),
    }


def low_memory_verdict(memory: dict[str, int]) -> Facts:
    """Whether so little memory is available that the host is about to run dry."""
    available = memory["available_bytes"]
    if not memory["total_bytes"]:
        return {"low": None, "reason": "/proc/meminfo cannot be read"}
    low = available < LOW_MEMORY_BYTES
    reason = f"{available / 1024**3:.1f} GiB available, at least {LOW_MEMORY_BYTES / 1024**3:.0f} GiB expected"
    return {"low": low, "reason": reason}


def _integer(text: str) -> int | None:
    number = real(text)  # None: [N/A], [Not Supported], [Unknown Error], ...
    return None if number is None else round(number)


def parse_gpu(csv: str, banner: str) -> Facts | None:
    """The first GPU. CSV answers GPU_FIELDS without header and units; only the banner names the CUDA version."""
    fields = [plain(field.strip()) for field in (csv.strip().splitlines() or [""])[0].split(",")]
    if len(fields) != len(GPU_FIELDS.split(",")):
        return None
    cuda = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)", banner)  # "UMD" since driver 610
    return {
        "name": fields[0],
        "driver": fields[1],
        "cuda": cuda.group(1) if cuda else None,
        "utilization_percent": _integer(fields[2]),
        "temperature_c": _integer(fields[3]),
        "power_w": real(fields[4]),
        "sm_clock_mhz": _integer(fields[5]),
        "memory": None,  # unified memory: the driver reports [N/A]; see the host's own memory instead
    }


def throttle_verdict(gpu: Facts | None) -> Facts:
    """Whether the GPU is held below its clocks. Only a busy GPU can be judged."""
    if gpu is None or gpu["utilization_percent"] is None or gpu["sm_clock_mhz"] is None:
        return {"throttled": None, "reason": "utilization or SM clock of the GPU is not known"}
    if CHIP not in (gpu.get("name") or CHIP):  # an H200 at its power limit runs at 1455 MHz
        return {"throttled": None, "reason": f"cannot be judged: the clocks of {gpu['name']} are not known"}
    load, clock = gpu["utilization_percent"], gpu["sm_clock_mhz"]
    if load <= BUSY_PERCENT:
        reason = f"cannot be judged: the GPU is {load} % busy, more than {BUSY_PERCENT} % is needed"
        return {"throttled": None, "reason": reason}
    if clock >= HEALTHY_SM_CLOCK_MHZ:
        return {"throttled": False, "reason": f"SM clock {clock} MHz at {load} % load"}
    return {
        "throttled": True,
        "reason": (
            f"SM clock {clock} MHz at {load} % load, at least {HEALTHY_SM_CLOCK_MHZ} MHz expected; "
            "unplug the power supply for 60 s, then look again under load"
        ),
    }


def firmware_versions(
    bios: str | None, vbios: str, adapters: t.Iterable[tuple[str, str]], dgx_release: dict[str, str] | None
) -> dict[str, str]:
    """What should be the same on every host of a fleet, as far as it is known.

    ADAPTERS are (hca_type, fw_ver). A Spark shows its one ConnectX-7 four times.
    """
    release = dgx_release or {}
    found = {
        "dgx_os": release.get("ota_version") or release.get("swbuild_version") or "",
        "bios": (bios or "").strip(),
        "vbios": (vbios.strip().splitlines() or [""])[0].strip(),
    }
    versions: dict[str, set[str]] = {}
    for kind, version in adapters:
        versions.setdefault(HCA_NAMES.get(kind, plain(kind.lower())), set()).add(version)
    found.update((name, ", ".join(sorted(different))) for name, different in sorted(versions.items()))
    # [N/A], [Unknown Error]: a field without a value
    return {name: plain(version) for name, version in found.items() if version and not version.startswith("[")}


def spark_verdict(gpu: Facts | None, dgx_release: dict[str, str] | None) -> tuple[bool, list[str]]:
    """Is this a DGX Spark (or a partner's machine with the same chip), and why."""
    gpu_name = gpu["name"] if gpu else None
    product = " ".join((dgx_release or {}).get(key, "") for key in ("name", "pretty_name"))
    by_gpu = CHIP in (gpu_name or "")
    by_release = "DGX Spark" in product
    reasons = [
        f"the GPU is {gpu_name}" if gpu_name else "nvidia-smi shows no GPU",
        "/etc/dgx-release names a DGX Spark" if by_release else "/etc/dgx-release does not name a DGX Spark",
    ]
    return by_gpu or by_release, reasons


def parse_docker_info(text: str) -> Facts:
    """`docker info --format '{{json .}}'`. Without a daemon the client still describes itself and its plugins."""
    info = mapping(parse_json(text))
    client = mapping(info.get("ClientInfo"))
    if not client:
        info = {}
    plugins = map(mapping, sequence(client.get("Plugins")))
    compose = [plugin.get("Version") for plugin in plugins if plugin.get("Name") == "compose"]

    def word(value: t.Any) -> str | None:
        return plain(string(value)) or None

    server = word(info.get("ServerVersion"))
    return {
        "client": word(client.get("Version")),
        "server": server,
        "running": bool(server),
        "compose": (word(compose[0]) or "").lstrip("v") if compose else None,
        "runtimes": sorted(map(plain, mapping(info.get("Runtimes")))),
        "default_runtime": word(info.get("DefaultRuntime")),
        "cdi_spec_dirs": [plain(string(folder)) for folder in sequence(info.get("CDISpecDirs")) if string(folder)],
        "cgroup_driver": word(info.get("CgroupDriver")),
        "root_dir": word(info.get("DockerRootDir")),
    }


def parse_version(text: str) -> str | None:
    """The first version number of an answer: `Docker version 28.2.2, build …`, `v2.40.3`, `… CLI version 1.19.0`."""
    found = re.search(r"\bv?(\d+\.\d+[\w.+~-]*)", text)
    return found.group(1) if found else None


def parse_cdi_devices(text: str) -> list[str]:
    return re.findall(r"^\s*([\w.-]+/[\w.-]+=\S+)\s*$", text, re.MULTILINE)


def parse_packages(text: str) -> dict[str, str | None]:
    """`dpkg-query -W -f '${Package}\\t${Version}\\t${db:Status-Abbrev}\\n'`: versions of those that are installed."""
    found: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for line in text.splitlines():
        name, version, status = (line.split("\t") + ["", ""])[:3]
        if name in found and status[1:2] == "i":
            found[name] = version
    return found


def listening_inodes(proc_net_tcp: str, port: int, address: str = EVERYWHERE) -> set[str]:
    """Inodes of the sockets that listen on the port where ADDRESS needs it, from /proc/net/tcp or tcp6."""
    inodes = set()
    for line in proc_net_tcp.splitlines():
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A":
            host, _colon, number = fields[1].partition(":")
            if number == f"{port:04X}" and meet(from_proc(host), address):
                inodes.add(fields[9])
    return inodes


def container_of(docker_ps: str, port: int, cgroup: str, address: str = EVERYWHERE) -> str | None:
    """Name of the container that publishes the TCP port where ADDRESS needs it, or has the CGROUP of the listener.

    The latter is one in the network of the host. DOCKER_PS is `docker ps` with LIST_CONTAINERS.
    """
    for line in docker_ps.splitlines():
        container, name, ports = (line.split("\t") + ["", ""])[:3]
        if container and container in cgroup:
            return plain(name)
        for host, first, last in re.findall(r"(\S+):(\d{1,5})(?:-(\d{1,5}))?->[\d-]+/tcp\b", ports, re.ASCII):
            if int(first) <= port <= int(last or first) and meet(host.strip("[]"), address):
                return plain(name)
    return None


def parse_services(docker_ps: str) -> list[Facts]:
    """Services of this collection that have a container, with their release and the memory that it was planned with.

    DOCKER_PS has the container's name, its labels dgxspark.vllm.service, planned_bytes and release, its state, and what
    is mounted, by tabs. What only has the labels is no service of ours, and holds no share of the memory.
    """
    services = []
    for line in docker_ps.splitlines():
        fields = (plain(field) for field in (line.split("\t") + [""] * 5)[:6])
        container, service, planned, release, state, mounts = fields
        home = home_of(service) if is_ours({SERVICE_LABEL: service, RELEASE_LABEL: release}) else None
        if home and has_cache_of(home, mounts.split(",")):
            found = {"service": service, "container": container, "planned_bytes": whole(planned)}
            services.append({**found, "release": release, "running": state in ("running", "paused")})
    return services


def read_text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def read_nics(sys_class_net: str = "/sys/class/net") -> list[Facts]:
    """Physical network ports. On a Spark mlx5_core drives the ConnectX-7; each of its ports shows up twice."""
    nics = []
    for name in sorted(os.listdir(sys_class_net) if os.path.isdir(sys_class_net) else []):
        folder = os.path.join(sys_class_net, name)
        if not os.path.exists(os.path.join(folder, "device")):
            continue
        speed = _integer((read_text(os.path.join(folder, "speed")) or "").strip())  # EINVAL, or -1, without a link
        driver = os.path.join(folder, "device", "driver")
        nics.append(
            {
                "name": name,
                "driver": os.path.basename(os.path.realpath(driver)) if os.path.exists(driver) else None,
                "state": (read_text(os.path.join(folder, "operstate")) or "unknown").strip(),
                "speed_mbps": speed if speed and speed > 0 else None,
                "mtu": _integer((read_text(os.path.join(folder, "mtu")) or "").strip()),
            }
        )
    return nics


def read_infiniband(folder: str = "/dev/infiniband") -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def parse_interfaces(text: str) -> list[Facts]:
    """Output of `ip -json -4 address`: interfaces that have an IPv4 address, with their addresses."""
    found = []
    for item in map(mapping, sequence(parse_json(text))):
        listed = [string(mapping(each).get("local")) for each in sequence(item.get("addr_info"))]
        addresses = [address for address in listed if address]
        if addresses and string(item.get("ifname")):
            found.append({"name": string(item["ifname"]), "addresses": addresses})
    return found


def read_adapters(sys_class_infiniband: str = "/sys/class/infiniband") -> list[tuple[str, str]]:
    """(hca_type, fw_ver) of the RDMA devices."""
    adapters = []
    for name in sorted(os.listdir(sys_class_infiniband) if os.path.isdir(sys_class_infiniband) else []):
        folder = os.path.join(sys_class_infiniband, name)
        kind, version = ((read_text(os.path.join(folder, file)) or "").strip() for file in ("hca_type", "fw_ver"))
        if kind and version:
            adapters.append((kind, version))
    return adapters


def socket_owner(inodes: set[str]) -> int | None:
    """The process that holds one of the sockets. None without the right to look (root), or without such a process."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in sorted((entry for entry in os.listdir("/proc") if entry.isdigit()), key=int):
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
        for descriptor in descriptors:
            try:
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") in wanted:
                    return int(pid)
            except OSError:  # closed meanwhile
                continue
    return None


def find_listener(port: int, docker_ps: str, address: str = EVERYWHERE) -> Facts | None:
    """Who listens on the port where ADDRESS needs it; None if nobody. DOCKER_PS is `docker ps` with LIST_CONTAINERS."""
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        inodes |= listening_inodes(read_text(table) or "", port, address)
    pid = socket_owner(inodes) if inodes else None
    container = container_of(docker_ps, port, read_text(f"/proc/{pid}/cgroup") or "", address)
    if not inodes and container is None:
        return None
    process = plain((read_text(f"/proc/{pid}/comm") or "").strip()) or None
    return {"port": port, "pid": pid, "process": process, "container": container}


def filesystem_space(path: str) -> dict[str, int]:
    """Space of the file system that holds the path, or would hold it: the nearest folder that exists counts."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    return {"total_bytes": stat.f_blocks * stat.f_frsize, "free_bytes": stat.f_bavail * stat.f_frsize}
