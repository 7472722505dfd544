# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of a Spark that the node exporter lacks, as a file for its textfile collector. Runs on the host by a timer.

python3 -B /usr/local/lib/dgxspark/dgxspark-exporter exporter CONFIGURATION STATE

CONFIGURATION is a folder with one SERVICE.json for each vLLM service: service, home and hf_cache. STATE is a folder
that the program may write; the metrics are in STATE/dgxspark.prom. It needs no root: nvidia-smi, systemctl show and the
files of a service are open to every user, and the kernel log needs the capability CAP_SYSLOG.

Available memory, memory pressure and thermal zones are metrics of the node exporter itself. What cannot be read is left
out, with dgxspark_exporter_part_up 0 for its part.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._host import turn
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.spark import (
    GPU_FIELDS,
    filesystem_space,
    parse_gpu,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, sequence, text
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Service, State, boot_of, read_json, write_json

METRICS = "dgxspark.prom"
# Seconds for one program. A GPU driver or a systemd that hangs makes its clients hang for good.
TIMEOUT = 5
# Seconds after which a look of the watchdog says nothing any more: two looks with all their timeouts.
LOOK_IS_OLD = 600
# The driver logs this when an allocation fails. On a GB10, owners saw it 43 minutes before the host stopped answering.
NO_MEMORY = b"NV_ERR_NO_MEMORY"
# A record of /dev/kmsg is at most 8 KiB; a shorter buffer would be an error.
RECORD = 8192
VERDICTS = ("answers", "refuses", "loads", "works", "silent", "other")
# Which version of the driver the kernel has loaded; nvidia-smi has the one that is installed.
LOADED_DRIVER = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)")

HELP = {
    "exporter_last_run_timestamp_seconds": "Time of the last run of the exporter",
    "exporter_part_up": "Whether a part of the figures could be read",
    "gpu_info": "Name of the GPU, installed and loaded version of its driver",
    "gpu_power_watts": "Power draw of the GPU",
    "gpu_sm_clock_hertz": "Clock of the streaming multiprocessors",
    "gpu_temperature_celsius": "Temperature of the GPU",
    "gpu_utilization_ratio": "Utilization of the GPU, 0 to 1",
    "hf_cache_free_bytes": "Free space of the file system with the model cache",
    "hf_cache_size_bytes": "Size of the file system with the model cache",
    "nv_err_no_memory_total": "NV_ERR_NO_MEMORY lines in the kernel log since the boot",
    "vllm_canary": "Verdict of the last look of the watchdog: 1 for the current one",
    "vllm_info": "Release that the link current names, with its model, image and profile",
    "vllm_release_drift": "Whether another release runs than the link current names",
    "vllm_start_time_seconds": "Start of the main process of the unit",
    "vllm_unanswered_starts": "Starts of the release without an answer since",
    "vllm_unit_active": "Whether the systemd unit is active",
    "vllm_waiting": "Whether another service of its swap group has the turn on the host",
    "vllm_watchdog_restarts": "Restarts by the watchdog within the last two hours",
}


class Page:
    """Metrics in the text format of Prometheus."""

    def __init__(self) -> None:
        self.samples: dict[str, list[str]] = {}

    def add(self, metric: str, value: float | None, /, **labels: str) -> None:
        """Nothing for a value that is not known."""
        if value is None:
            return
        inner = ",".join(f'{label}="{_escaped(labels[label])}"' for label in sorted(labels))
        self.samples.setdefault(metric, []).append(f"dgxspark_{metric}{'{' + inner + '}' if inner else ''} {value!r}")

    def text(self) -> str:
        lines = []
        for name in sorted(self.samples):
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP dgxspark_{name} {HELP[name]}", f"# TYPE dgxspark_{name} {kind}", *self.samples[name]]
        return "".join(f"{line}\n" for line in lines)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Programs:
    """Runs programs that may hang, even when they are killed: nobody waits for such a one, and it has no second."""

    def __init__(self, stuck: t.Mapping[str, t.Any], proc: Path = Path("/proc")) -> None:
        self.proc = proc
        self.stuck = {name: pid for name, pid in stuck.items() if self._lives(pid, name)}

    def _lives(self, pid: t.Any, name: str) -> bool:
        try:
            return (self.proc / str(pid) / "comm").read_text().strip() == name[:15]
        except OSError:
            return False

    def run(self, *command: str, timeout: float = TIMEOUT) -> str | None:
        """The output; None if it is missing, fails or hangs."""
        name = command[0]
        if name in self.stuck:
            return None
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError:
            return None
        try:
            output, _error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                self.stuck[name] = process.pid
            return None
        return output if process.returncode == 0 else None


def gpu(page: Page, programs: Programs, loaded: Path = Path("/proc/driver/nvidia/version")) -> bool:
    csv = programs.run("nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader,nounits")
    found = parse_gpu(csv, "") if csv else None
    try:
        version = LOADED_DRIVER.search(loaded.read_text(errors="replace"))
    except OSError:
        version = None
    if found or version:  # nvidia-smi fails if the driver was updated and the host not rebooted
        names = {"name": found["name"], "driver": found["driver"]} if found else {"name": "", "driver": ""}
        page.add("gpu_info", 1, **names, loaded=version[1] if version else "")
    if not found:
        return False
    percent, clock = found["utilization_percent"], found["sm_clock_mhz"]
    page.add("gpu_utilization_ratio", None if percent is None else percent / 100)
    page.add("gpu_sm_clock_hertz", None if clock is None else clock * 1_000_000)
    page.add("gpu_temperature_celsius", found["temperature_c"])
    page.add("gpu_power_watts", found["power_w"])
    return True


def no_memory_lines(device: str, last: int) -> tuple[int, int]:
    """Lines with NV_ERR_NO_MEMORY after record number LAST of the kernel log, and the number of its newest record.

    OSError: the log cannot be read.
    """
    count, newest = 0, last
    descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                record = os.read(descriptor, RECORD)
            except BlockingIOError:  # no newer one
                break
            except OSError as error:
                if error.errno != errno.EPIPE:  # overwritten before it was read: the next read goes on
                    raise
                continue
            if not record:
                break
            number = re.match(rb"\d+,(\d{1,18}),", record)
            if number and int(number[1]) > last:
                newest = max(newest, int(number[1]))
                count += NO_MEMORY in record
    finally:
        os.close(descriptor)
    return count, newest


def kernel_log(page: Page, state: State, boot: str, device: str = "/dev/kmsg") -> bool:
    """Counts in STATE, which belongs to one boot: record numbers begin anew with the next one."""
    before = mapping(state.get("kernel_log"))
    before = before if before.get("boot") == boot else {"boot": boot, "newest": -1, "lines": 0}
    try:
        lines, newest = no_memory_lines(device, int(before["newest"]))
    except (OSError, KeyError, TypeError, ValueError):
        return False
    total = int(before.get("lines") or 0) + lines
    state["kernel_log"] = {"boot": boot, "newest": newest, "lines": total}
    page.add("nv_err_no_memory_total", total)
    return True


def unit(programs: Programs, name: str) -> dict[str, str]:
    """Properties of a systemd unit; empty if systemd does not answer."""
    wanted = "LoadState,ActiveState,ExecMainStartTimestamp,Conflicts"
    output = programs.run("systemctl", "show", f"--property={wanted}", "--timestamp=unix", name) or ""
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def waits(programs: Programs, name: str, conflicts: str) -> bool | None:
    """Whether another unit of its swap group has the turn. None without a group."""
    group = turn.group_of(conflicts)
    if not group:
        return None
    shown = "\n".join(programs.run(*command) or "" for command in turn.commands([name, *group]))
    return turn.on_turn(name, turn.states(shown)) in group


def vllm(page: Page, programs: Programs, service: Service, now: float, boot: str) -> bool:
    """NOW is in seconds since BOOT, the clock of the watchdog."""
    name, release = service.name, service.release
    facts = service.parameters
    if facts:
        labels = {key: text(facts.get(key)) for key in ("model", "image", "profile")}
        page.add("vllm_info", 1, service=name, release=release, **labels)
    found = unit(programs, f"{name}.service")
    is_known = found.get("LoadState") == "loaded"
    if is_known:
        page.add("vllm_unit_active", int(found.get("ActiveState") in ("active", "activating")), service=name)
        started = re.fullmatch(r"@(\d{1,12})", found.get("ExecMainStartTimestamp", ""))
        page.add("vllm_start_time_seconds", int(started[1]) if started else None, service=name)
        is_waiting = waits(programs, f"{name}.service", found.get("Conflicts", ""))
        page.add("vllm_waiting", None if is_waiting is None else int(is_waiting), service=name)
    page.add("vllm_unanswered_starts", len(service.starts()), service=name)
    restarts = sequence(read_json(service.watchdog).get("restarts"))
    page.add("vllm_watchdog_restarts", len(restarts), service=name)
    look = read_json(service.look)
    when = look.get("time")
    if look.get("boot") == boot and isinstance(when, (int, float)) and 0 <= now - when < LOOK_IS_OLD:
        for verdict in VERDICTS:
            page.add("vllm_canary", int(look.get("verdict") == verdict), service=name, verdict=verdict)
        running = [text(entry) for entry in sequence(look.get("running"))]
        page.add("vllm_release_drift", int(bool(running) and release not in running), service=name)
    return is_known and bool(facts)


def caches(page: Page, paths: t.Iterable[str]) -> None:
    for path in sorted(set(paths)):
        space = filesystem_space(path)
        page.add("hf_cache_free_bytes", space["free_bytes"], path=path)
        page.add("hf_cache_size_bytes", space["total_bytes"], path=path)


def collect(configuration: Path, state: State, now: float, boot: str) -> Page:
    page, programs = Page(), Programs(mapping(state.get("stuck")))
    parts = {"gpu": gpu(page, programs), "kernel_log": kernel_log(page, state, boot)}
    services = [read_json(path) for path in sorted(configuration.glob("*.json"))]
    for entry in services:
        service = Service(Path(text(entry.get("home")) or "/nonexistent"), text(entry.get("service")))
        parts[f"service {service.name}"] = vllm(page, programs, service, now, boot)
    try:
        caches(page, [text(entry["hf_cache"]) for entry in services if text(entry.get("hf_cache"))])
    except OSError:
        parts["hf_cache"] = False
    for part, is_up in parts.items():
        page.add("exporter_part_up", int(is_up), part=part)
    page.add("exporter_last_run_timestamp_seconds", int(time.time()))
    state["stuck"] = programs.stuck
    return page


def replace(path: Path, content: str) -> None:
    """The node exporter sees the old file or the new one. After a power cut the next run writes it again."""
    new = path.with_suffix(".new")
    new.write_text(content, encoding="utf-8")
    new.replace(path)


def main(argv: t.Sequence[str]) -> int:
    if len(argv) != 3:
        print("usage: exporter CONFIGURATION STATE", file=sys.stderr)
        return 2
    folder = Path(argv[2])
    state = read_json(folder / "state.json")
    page = collect(Path(argv[1]), state, time.clock_gettime(time.CLOCK_BOOTTIME), boot_of())
    replace(folder / METRICS, page.text())
    write_json(folder / "state.json", state)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
