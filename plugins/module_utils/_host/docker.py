# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `docker inspect` and `systemctl show` say about a service. Pure parsers."""

from __future__ import annotations

import re
import typing as t
from calendar import timegm
from dataclasses import dataclass, field

from .._outside.text import plain, plain_lines
from .._outside.values import mapping, parse_json, sequence, text, whole
from .clock import TOLERANCE, Clock

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,12})?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)


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
    pid: int | None = None  # of its main process while it runs
    binds: list[str] = field(default_factory=list)  # folders and files of the host that it has
    is_in_host_network: bool = False  # published is what its command says then, and anybody may listen there


@dataclass
class Unit:
    """A systemd unit."""

    active_state: str
    sub_state: str
    result: str
    restarts: int
    invocation_id: str
    started_monotonic: float  # seconds on the host's monotonic clock, 0 if it never ran
    conflicts: str = ""  # units that its start stops, as systemd lists them


def first_inspected(inspected: str) -> dict[str, t.Any]:
    """The first container of `docker inspect --type container NAME...`; empty when there is none in the answer."""
    found = sequence(parse_json(inspected))
    return mapping(found[0]) if found else {}


def parse_inspect(inspected: str) -> Container | None:
    """`docker inspect --type container NAME`; None when there is no container in the answer."""
    entry = first_inspected(inspected)
    if not entry:
        return None
    state, config = mapping(entry.get("State")), mapping(entry.get("Config"))
    return Container(
        name=plain(text(entry.get("Name"))).lstrip("/"),
        id=plain(text(entry.get("Id")))[:12],
        status=plain(text(state.get("Status"))),
        exit_code=whole(state.get("ExitCode")) or 0,
        oom_killed=bool(state.get("OOMKilled")),
        error=plain_lines(text(state.get("Error"))),
        started_at=plain(text(state.get("StartedAt"))),
        finished_at=plain(text(state.get("FinishedAt"))),
        image=plain(text(config.get("Image"))),
        restarts=whole(entry.get("RestartCount")) or 0,
        labels={plain(key): plain(text(value)) for key, value in mapping(config.get("Labels")).items()},
        published=published_address(entry),
        pid=whole(state.get("Pid")) or None,
        binds=[
            text(mount.get("Source"))
            for mount in map(mapping, sequence(entry.get("Mounts")))
            if mount.get("Type") == "bind"
        ],
        is_in_host_network=mapping(entry.get("HostConfig")).get("NetworkMode") == "host",
    )


def published_address(entry: t.Any) -> str | None:
    """host:port where the host finds the server of an inspected container; None if it has no port there."""
    found = _port(entry)
    return f"{'127.0.0.1' if found[0] == '0.0.0.0' else found[0]}:{found[1]}" if found else None


def listening_address(entry: t.Any) -> str | None:
    """host:port on which clients are listened for, 0.0.0.0 for all addresses; None if it has no port there."""
    found = _port(entry)
    return f"{found[0]}:{found[1]}" if found else None


def _port(entry: t.Any) -> tuple[str, int] | None:
    settings = mapping(mapping(entry).get("HostConfig"))
    if settings.get("NetworkMode") == "host":
        return _own_port(sequence(mapping(mapping(entry).get("Config")).get("Cmd")))
    for bindings in mapping(settings.get("PortBindings")).values():
        for binding in map(mapping, sequence(bindings)):
            host, port = plain(text(binding.get("HostIp"))), whole(binding.get("HostPort"))
            if port:
                return host or "0.0.0.0", port
    return None


def _own_port(words: t.Sequence[t.Any]) -> tuple[str, int] | None:
    """Of a server in the network of the host, from its command: the head of a group of hosts has both options."""
    options = {name: plain(text(value)) for name, value in zip(words, words[1:]) if name in ("--host", "--port")}
    port = whole(options.get("--port"))
    return (options["--host"], port) if port and options.get("--host") else None


def parse_unit(shown: str) -> Unit | None:
    """`systemctl show UNIT`, lines of KEY=VALUE; None when there is no such unit."""
    values = dict(plain(line).split("=", 1) for line in shown.split("\n") if "=" in plain(line))
    if values.get("LoadState", "not-found") == "not-found":
        return None

    return Unit(
        active_state=values.get("ActiveState", ""),
        sub_state=values.get("SubState", ""),
        result=values.get("Result", ""),
        restarts=whole(values.get("NRestarts")) or 0,
        invocation_id=values.get("InvocationID", ""),
        started_monotonic=(whole(values.get("ExecMainStartTimestampMonotonic")) or 0) / 1e6,
        conflicts=values.get("Conflicts", ""),
    )


def epoch(stamp: str) -> float | None:
    """Docker's time stamp as seconds; None for Docker's "never" and for anything that is no time stamp."""
    found = _TIME.fullmatch(stamp)
    if not found or found.group(1) == "0001":
        return None
    try:
        seconds = float(timegm(tuple(int(part) for part in found.groups()[:6])))
    except ValueError:  # a month 13
        return None
    seconds += float(found.group(7) or 0)
    if found.group(8):
        offset = int(found.group(9)) * 3600 + int(found.group(10)) * 60
        seconds += -offset if found.group(8) == "+" else offset
    return seconds


def is_to_come(stamp: float | None, now: float) -> bool:
    """Something that happened has a time to come: the clock was set back since."""
    return stamp is not None and stamp > now + TOLERANCE


def log_since(container: Container, clock: Clock) -> str:
    """From when on the log belongs to the current attempt, for `docker logs --since` and `--until`.

    Docker notes the start after the process runs, so its first lines may be older: begin a little earlier, but
    after the end of the attempt before. Lines that were written after the clock was set back are older, too: then
    lines of earlier attempts may come with them, which the parser of the log leaves out.
    """
    started, finished = epoch(container.started_at), epoch(container.finished_at)
    ended = container.status in ("exited", "dead")
    if started is None or (not clock.jump and is_to_come(started, clock.now)):
        return "0"
    if ended and finished is not None and finished < started:  # set back in between
        return "0"
    since = started - 2 + min(clock.jump, 0.0)
    if clock.jump >= 0 and finished is not None and since <= finished < started:
        since = finished + 0.001
    return f"{since:.6f}"
