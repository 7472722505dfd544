# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel log, earlyoom and the sensors of a host say of it. Pure parsers.

A single line of NV_ERR_NO_MEMORY is noise: the driver tries again, and healthy starts have such lines. A rate of five
lines in a minute was seen 43 minutes before a host froze.
"""

from __future__ import annotations

import re
import typing as t

from .causes import Cause, condition

NO_MEMORY_LINES, NO_MEMORY_SECONDS = 5, 60
HOT = 88.0  # °C; a Spark was seen to cut its power after 417 s at or above it

_STAMP = re.compile(r"(?P<unix>\d{9,11}\.\d{1,9}) |\[ *(?P<boot>\d{1,11}\.\d{1,9})\] ")
_NO_MEMORY = re.compile(r"NV_ERR_NO_MEMORY|NVRM: .{0,200}Out of memory", re.IGNORECASE)
_XID = re.compile(r"NVRM: Xid \((?P<device>[^)]{1,60})\): (?P<number>\d{1,4})\b(?P<rest>.{0,200})")
_OOM = re.compile(
    r"(?:Out of memory|Memory cgroup out of memory): Killed process (?P<pid>\d{1,10}) \((?P<name>[^)]{1,60})\)"
    r"(?:.{0,200}?anon-rss:(?P<rss>\d{1,15}) ?kB)?",
    re.IGNORECASE,
)
_EARLYOOM = re.compile(
    r"(?:sending )?SIG(?:TERM|KILL) (?:sent )?to process (?P<pid>\d{1,10})(?: uid \d+)?[ ,]*"
    r"[\"'](?P<name>[^\"']{1,60})[\"']"
    r"(?:.{0,120}?VmRSS (?P<mib>\d{1,15}) MiB)?",
    re.IGNORECASE,
)
_NVML = re.compile(r"NVRM: API mismatch|driver/library version mismatch", re.IGNORECASE)
# Processes of a vLLM server, as the kernel shortens their names.
_VLLM = re.compile(r"vllm|EngineCore|python", re.IGNORECASE)


class Victim(t.NamedTuple):
    """A process that was killed for lack of memory."""

    pid: int
    name: str
    gib: float | None
    line: str

    @property
    def is_vllm(self) -> bool:
        return bool(_VLLM.search(self.name))


def stamp(line: str) -> float | None:
    """Seconds of a line of `journalctl -o short-unix` or of `dmesg`."""
    found = _STAMP.search(line[:80])
    return float(found.group("unix") or found.group("boot")) if found else None


def no_memory_burst(kernel_log: str) -> str | None:
    """The line with which the rate of failed allocations became dangerous."""
    times: list[float] = []
    for line in kernel_log.splitlines():
        if not _NO_MEMORY.search(line):
            continue
        now = stamp(line)
        if now is None:
            continue
        times = [*(before for before in times if now - before <= NO_MEMORY_SECONDS), now]
        if len(times) >= NO_MEMORY_LINES:
            return line.strip()
    return None


def xids(kernel_log: str) -> list[tuple[int, str]]:
    """Number and line of the driver's errors, the latest of each number."""
    found: dict[int, str] = {}
    for line in kernel_log.splitlines():
        match = _XID.search(line)
        if match:
            found[int(match.group("number"))] = line.strip()
    return sorted(found.items())


def victims(log: str, pattern: t.Pattern[str] = _OOM) -> list[Victim]:
    """Who was killed for lack of memory, the last one first."""
    found = []
    for line in log.splitlines():
        match = pattern.search(line)
        if match:
            groups = match.groupdict()
            gib = None
            if groups.get("rss"):
                gib = int(groups["rss"]) / 1024**2
            elif groups.get("mib"):
                gib = int(groups["mib"]) / 1024
            found.append(Victim(int(match.group("pid")), match.group("name"), gib, line.strip()))
    return found[::-1]


def earlyoom_victims(journal: str) -> list[Victim]:
    return victims(journal, _EARLYOOM)


def hottest(zones: t.Mapping[str, float]) -> tuple[str, float] | None:
    """Name and °C of the hottest thermal zone, if it is too hot."""
    if not zones:
        return None
    name = max(zones, key=lambda zone: zones[zone])
    return (name, zones[name]) if zones[name] >= HOT else None


class Shown(t.NamedTuple):
    """Something that the machine shows."""

    cause: Cause
    is_vllm: bool = True  # it may have ended vLLM


def look(kernel_log: str = "", earlyoom: str = "", zones: t.Mapping[str, float] | None = None) -> list[Shown]:
    """Everything that the machine shows, the most urgent first."""
    found: list[Shown] = []
    burst = no_memory_burst(kernel_log)
    if burst:
        found.append(Shown(condition("machine_memory", burst)))
    hot = hottest(zones or {})
    if hot:
        found.append(Shown(condition("machine_hot", f"{hot[0]}: {hot[1]:.0f} °C"), is_vllm=False))
    mismatch = next((line for line in kernel_log.splitlines() if _NVML.search(line)), None)
    if mismatch:
        found.append(Shown(condition("machine_nvml", mismatch.strip()), is_vllm=False))
    for name, killed in (("machine_oom", victims(kernel_log)), ("machine_earlyoom", earlyoom_victims(earlyoom))):
        if killed:
            found.append(_killed(name, killed))
    known = xids(kernel_log)
    if known:
        found.append(Shown(condition("machine_xid", known[-1][1])))
    return found


def _killed(name: str, killed: t.Sequence[Victim]) -> Shown:
    """A process of vLLM before any other one."""
    victim = next((one for one in killed if one.is_vllm), killed[0])
    cause = condition(name, victim.line)
    size = f" with {victim.gib:.1f} GiB" if victim.gib is not None else ""
    told = cause._replace(meaning=f"{cause.meaning}: {victim.name} (pid {victim.pid}){size}")
    return Shown(told, victim.is_vllm)


_KILLED = ("killed", "oom_killed", "engine_killed", "worker_killed", "engine_dead", "exited", "exited_after_ready")
_CRASHED = ("crashed", "engine_crashed", "illegal_access", "cuda_unknown", "gpu_lost", "rpc_timeout")


def explain(cause: Cause, machine: t.Iterable[Shown]) -> Cause:
    """The cause of a process that was killed or crashed, with what the machine shows of it."""
    wanted: tuple[str, ...] = ()
    if cause.id in _KILLED and not (cause.id == "engine_dead" and not cause.certain):  # it logged why
        wanted = ("machine_oom", "machine_earlyoom", "machine_xid", "machine_memory")
    elif cause.id in _CRASHED:
        wanted = ("machine_xid", "machine_memory")
    known = {shown.cause.id: shown.cause for shown in machine if shown.is_vllm}
    reason = next((known[name] for name in wanted if name in known), None)
    if reason is None:
        return cause
    return cause._replace(
        meaning=f"{cause.meaning}; {reason.meaning}",
        remedy=reason.remedy,
        evidence=reason.evidence,
        family=reason.family,
        change={},
        sets={},
    )
