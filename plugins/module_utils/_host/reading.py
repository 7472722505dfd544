# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a host once: runs the commands, and lets the parsers read what they print."""

from __future__ import annotations

import os
import platform
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._outside import command
from .._outside.text import plain, plain_lines
from . import configuration, daemon_json, fabric
from . import spark as host_spark

TIMEOUT_SECONDS = 5


class Host:
    """Runs the commands; everything that they print is read by the parsers in module_utils."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        timeout = module.get_bin_path("timeout")
        # A wedged Docker daemon or GPU driver makes its clients hang for good.
        self.prefix = [timeout, "--kill-after=1", str(TIMEOUT_SECONDS)] if timeout else []

    def run(self, *argv: str) -> tuple[bool, str, str]:
        """(succeeded, output, first line of the complaint)"""
        code, out, err = command.run([*self.prefix, *argv], LC_ALL="C", LANGUAGE="C")
        if self.prefix and code in (124, 137):
            return False, plain_lines(out), f"{os.path.basename(argv[0])} did not answer within {TIMEOUT_SECONDS} s"
        # Docker 26 complains about its daemon and exits with 0; nvidia-smi complains on its standard output.
        complaint = (err.strip() or (out.strip() if code else "")).splitlines()
        return code == 0, plain_lines(out), plain(complaint[0].strip()) if complaint else ""

    def gpu(self) -> tuple[host_spark.Facts | None, str | None]:
        path = self.module.get_bin_path("nvidia-smi")
        if path is None:
            return None, "nvidia-smi is not installed"
        good, csv, error = self.run(path, f"--query-gpu={host_spark.GPU_FIELDS}", "--format=csv,noheader,nounits")
        if not good:
            return None, error or "nvidia-smi failed"
        gpu = host_spark.parse_gpu(csv, self.run(path)[1])
        return gpu, None if gpu else "nvidia-smi gave an answer that cannot be read"

    def vbios(self) -> str:
        """Asked apart: a driver that does not know one field answers none of them."""
        path = self.module.get_bin_path("nvidia-smi")
        if path is None:
            return ""
        good, csv, _error = self.run(path, "--query-gpu=vbios_version", "--format=csv,noheader")
        return csv if good else ""

    def docker(self) -> host_spark.Facts | None:
        path = self.module.get_bin_path("docker")
        if path is None:
            return None
        _good, out, error = self.run(path, "info", "--format", "{{json .}}")
        docker = host_spark.parse_docker_info(out)
        if docker["client"] is None:  # a hung daemon keeps the client from describing itself
            docker["client"] = host_spark.parse_version(self.run(path, "--version")[1])
            compose = self.run(path, "compose", "version", "--short")
            docker["compose"] = host_spark.parse_version(compose[1]) if compose[0] else None
        docker["error"] = None if docker["running"] else error or "the daemon does not answer"
        return docker

    def services(self, docker: host_spark.Facts | None) -> list[host_spark.Facts]:
        if not (docker and docker["running"]):
            return []
        labels = ("service", "planned_bytes", "release")
        read = (f'{{{{.Label "dgxspark.vllm.{label}"}}}}' for label in labels)
        form = r"\t".join(["{{.Names}}", *read, "{{.State}}", "{{.Mounts}}"])
        # stopped ones too: what is down for a moment keeps its share
        listing = ("ps", "--all", "--no-trunc", "--filter", "label=dgxspark.vllm.service", "--format", form)
        return host_spark.parse_services(self.run(self.module.get_bin_path("docker"), *listing)[1])

    def toolkit(self) -> host_spark.Facts | None:
        path = self.module.get_bin_path("nvidia-ctk")
        if path is None:
            return None
        _good, devices, error = self.run(path, "cdi", "list")
        return {
            "version": host_spark.parse_version(self.run(path, "--version")[1]),
            "ctk_path": path,
            "cdi_devices": None if "did not answer" in error else host_spark.parse_cdi_devices(devices),
        }

    def interfaces(self) -> list[host_spark.Facts]:
        path = self.module.get_bin_path("ip")
        return host_spark.parse_interfaces(self.run(path, "-json", "-4", "address")[1]) if path else []

    def packages(self) -> dict[str, str | None]:
        path = self.module.get_bin_path("dpkg-query")
        form = r"${Package}\t${Version}\t${db:Status-Abbrev}\n"
        return host_spark.parse_packages(self.run(path, "-W", "-f", form, *host_spark.PACKAGES)[1] if path else "")

    def units(self, names: list[str]) -> dict[str, host_spark.Facts]:
        path = self.module.get_bin_path("systemctl")
        if path is None or not names:
            return {}
        properties = ",".join(configuration.UNIT_PROPERTIES)
        text = self.run(path, "show", f"--property={properties}", "--", *names)[1]
        return configuration.parse_units(text, names)

    def listener(self, port: int, address: str, docker: host_spark.Facts | None) -> host_spark.Facts | None:
        listing = ""
        if docker and docker["running"]:
            listing = self.run(self.module.get_bin_path("docker"), "ps", *host_spark.LIST_CONTAINERS)[1]
        return host_spark.find_listener(port, listing, address)


def read_host(module: AnsibleModule, asked: t.Mapping[str, t.Any]) -> host_spark.Facts:
    """What the module spark_info returns for the options ASKED; each may be left out."""
    host = Host(module)
    port, cache = asked.get("port"), asked.get("cache")
    uname = os.uname()
    gpu, gpu_error = host.gpu()
    system = host_spark.parse_os(
        host_spark.read_text("/etc/os-release"), host_spark.read_text("/etc/dgx-release"), uname.release
    )
    is_spark, reasons = host_spark.spark_verdict(gpu, system["dgx_release"])
    memory = host_spark.parse_meminfo(host_spark.read_text("/proc/meminfo") or "")
    docker = host.docker()
    content, daemon_json_error = daemon_json.parse(host_spark.read_text(daemon_json.PATH))
    return {
        "architecture": uname.machine,
        "hostname": uname.nodename,
        "python": platform.python_version(),
        "os": system,
        "is_spark": is_spark,
        "reasons": reasons,
        "gpu": gpu,
        "gpu_error": gpu_error,
        "time": int(time.time()),
        "memory": memory,
        "low_memory": host_spark.low_memory_verdict(memory),
        "firmware": host_spark.firmware_versions(
            host_spark.read_text("/sys/class/dmi/id/bios_version"),
            host.vbios() if gpu else "",
            host_spark.read_adapters(),
            system["dgx_release"],
        ),
        "docker": docker,
        "services": host.services(docker),
        "toolkit": host.toolkit(),
        "daemon_json": daemon_json.mask(content),
        "daemon_json_error": daemon_json_error,
        "daemon_json_pending": os.path.exists(daemon_json.NOTE),
        "packages": host.packages(),
        "listener": host.listener(port, asked["address"], docker) if port is not None else None,
        "nics": host_spark.read_nics(),
        "connectx7": fabric.read_ports(),
        "interfaces": host.interfaces(),
        "infiniband": host_spark.read_infiniband(),
        "throttle": host_spark.throttle_verdict(gpu),
        "filesystems": {path: host_spark.filesystem_space(path) for path in asked.get("paths", [])},
        "files": {path: configuration.read_file(path) for path in asked.get("files", [])},
        "sysctl": {name: configuration.read_sysctl(name) for name in asked.get("sysctl", [])},
        "units": host.units(asked.get("units", [])),
        "commands": {name: module.get_bin_path(name) for name in asked.get("commands", [])},
        "cache": configuration.read_cache(cache, asked.get("cache_model")) if cache else None,
    }
