# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of a HAProxy, as its administration socket tells of them. Pure.

Source: "show servers state" (version 1), "show stat", "show sess", "show map" and "show proc" in HAProxy's management
guide, the same in 2.6 and 2.8.
"""

from __future__ import annotations

import collections
import csv
import re
import typing as t

STATES = "show servers state"
STATISTICS = "show stat -1 4 -1"  # of servers only
PROCESSES = "show proc"  # to the master
REQUESTS = "show sess"  # of a process that ends, whose statistics are empty

RUNNING = 2  # srv_op_state
# Bits of srv_admin_state: taken out over the socket, for maintenance or to drain.
FORCED_OUT = 0x01 | 0x08
DRAINED = 0x08
_REQUEST = re.compile(r"^0x\S+ .* be=(\S+) srv=(\S+) ", re.MULTILINE)


class Server(t.NamedTuple):
    backend: str
    name: str
    is_up: bool  # its health checks pass
    is_drained: bool  # it gets no new requests, because somebody said so
    is_out: bool  # drained, or in maintenance
    sessions: int  # requests in progress


def parse(states: str, statistics: str) -> list[Server]:
    """Raises ValueError for what is not of this form."""
    version, _newline, table = states.partition("\n")
    if version.strip() != "1":
        raise ValueError(f"unknown version of the servers' state: {version[:40]!r}")
    lines = [line for line in table.splitlines() if line.strip()]
    if not lines:
        return []
    names = lines[0].lstrip("# ").split()
    rows = [dict(zip(names, line.split())) for line in lines[1:]]
    sessions = {
        (row["# pxname"], row["svname"]): int(row["scur"] or 0) for row in csv.DictReader(statistics.splitlines())
    }
    try:
        return [_server(row, sessions) for row in rows]
    except KeyError as error:
        raise ValueError(f"the servers' state lacks {error}") from None


def _server(row: t.Mapping[str, str], sessions: t.Mapping[tuple[str, str], int]) -> Server:
    admin = int(row["srv_admin_state"])
    return Server(
        backend=row["be_name"],
        name=row["srv_name"],
        is_up=int(row["srv_op_state"]) == RUNNING,
        is_drained=bool(admin & DRAINED),
        is_out=bool(admin & FORCED_OUT),
        sessions=sessions.get((row["be_name"], row["srv_name"]), 0),
    )


def with_old(servers: t.Iterable[Server], requests: t.Iterable[str]) -> list[Server]:
    """SERVERS, with the requests that processes from before a reload still have."""
    more = collections.Counter(found for text in requests for found in _REQUEST.findall(text))
    return [each._replace(sessions=each.sessions + more[each.backend, each.name]) for each in servers]


def old_workers(processes: str) -> list[int]:
    """Processes that a reload has replaced, and that still have requests."""
    _before, _title, rest = processes.partition("# old workers\n")
    lines = rest.partition("#")[0].splitlines()
    return [int(line.split()[0]) for line in lines if line.split()]


def entries(text: str) -> list[str]:
    """Of a map, as lines of its file."""
    return [line.split(" ", 1)[1] for line in text.splitlines() if line.startswith("0x")]


def is_alone(name: str, servers: t.Sequence[Server]) -> bool:
    """Whether without this server, which is up, a model of it has no other one."""
    mine = {server.backend for server in servers if server.name == name and server.is_up}
    others = {server.backend for server in servers if server.name != name and server.is_up and not server.is_out}
    return bool(mine - others)


def ends_hold(name: str, backend: str, servers: t.Iterable[Server]) -> bool:
    """Whether no server of BACKEND is awaited any more, now that NAME is back.

    One server that is up is enough. If this one did not come up, another one that is being switched still may.
    """
    mine = [server for server in servers if server.backend == backend]
    return any(server.is_up and not server.is_out for server in mine) or not any(
        server.is_drained for server in mine if server.name != name
    )
