# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `docker inspect` and `systemctl show` say about a service. Pure parsers."""

from __future__ import annotations

import json
import re
import typing as t
from calendar import timegm
from dataclasses import dataclass, field

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(?:Z|([+-])(\d\d):(\d\d))$")


@dataclass
class Container:
    name: str
    id: str
    status: str  # created, running, paused, restarting, removing, exited, dead
    exit_code: int
    oom_killed: bool
    error: str  # why Docker could not start it
    started_at: str
    finished_at: str
    image: str
    restarts: int
    labels: dict[str, str] = field(default_factory=dict)
    published: str | None = None  # host:port where the host finds the server's port


@dataclass
class Unit:
    """A systemd unit."""

    active_state: str
    sub_state: str
    result: str
    restarts: int
    invocation_id: str
    started_monotonic: float  # seconds on the host's monotonic clock, 0 if it never ran


def parse_inspect(text: str) -> Container | None:
    """`docker inspect --type container NAME`; None when there is no container in the answer."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        return None
    entry: dict[str, t.Any] = found[0]
    state = entry.get("State") or {}
    config = entry.get("Config") or {}
    return Container(
        name=str(entry.get("Name", "")).lstrip("/"),
        id=str(entry.get("Id", ""))[:12],
        status=str(state.get("Status", "")),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        started_at=str(state.get("StartedAt", "")),
        finished_at=str(state.get("FinishedAt", "")),
        image=str(config.get("Image", "")),
        restarts=int(entry.get("RestartCount") or 0),
        labels={str(key): str(value) for key, value in (config.get("Labels") or {}).items()},
        published=published_address((entry.get("HostConfig") or {}).get("PortBindings")),
    )


def published_address(bindings: t.Any) -> str | None:
    """host:port where the host finds the server, from PortBindings; None if no port is published."""
    for entries in bindings.values() if isinstance(bindings, dict) else []:
        for entry in entries or []:
            host, port = entry.get("HostIp", ""), entry.get("HostPort", "")
            if port:
                return f"{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{port}"
    return None


def parse_unit(text: str) -> Unit | None:
    """`systemctl show UNIT`, lines of KEY=VALUE; None when there is no such unit."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if values.get("LoadState", "not-found") == "not-found":
        return None

    def number(key: str) -> int:
        value = values.get(key, "")
        return int(value) if value.isdigit() else 0

    return Unit(
        active_state=values.get("ActiveState", ""),
        sub_state=values.get("SubState", ""),
        result=values.get("Result", ""),
        restarts=number("NRestarts"),
        invocation_id=values.get("InvocationID", ""),
        started_monotonic=number("ExecMainStartTimestampMonotonic") / 1e6,
    )


def epoch(stamp: str) -> float | None:
    """Docker's time stamp as seconds; None for Docker's "never" and for anything that is no time stamp."""
    found = _TIME.match(stamp)
    if not found or found.group(1) == "0001":
        return None
    seconds = float(timegm(tuple(int(part) for part in found.groups()[:6])))
    seconds += float(found.group(7) or 0)
    if found.group(8):
        offset = int(found.group(9)) * 3600 + int(found.group(10)) * 60
        seconds += -offset if found.group(8) == "+" else offset
    return seconds


def log_since(container: Container) -> str:
    """From when on the log belongs to the current attempt, for `docker logs --since` and `--until`.

    Docker notes the start after the process runs, so its first lines may be older: begin a little earlier, but
    after the end of the attempt before.
    """
    started = epoch(container.started_at)
    if started is None:
        return "0"
    since = started - 2
    finished = epoch(container.finished_at)
    if finished is not None and since <= finished < started:
        since = finished + 0.001
    return f"{since:.6f}"
