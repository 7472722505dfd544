# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that serve one model together, as one of them sees the others.

The workers connect to the master port of the head when they start, and keep that connection as long as they live. Who
has lost it does not get it back: only a start of both sides makes a new one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import typing as t

from .._outside.values import sequence, text, whole
from .addresses import from_proc

ESTABLISHED, LISTENING = "01", "0A"

# What a host answers to a connection: somebody listens, nobody does, or the host does not answer at all.
OPEN, CLOSED, SILENT = "open", "closed", "silent"

_TABLES = ("tcp", "tcp6")


class Peers(t.NamedTuple):
    """What release.json says of them: the addresses in the order of the ranks, the rank of this host."""

    addresses: tuple[str, ...]
    rank: int
    port: int

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(address for rank, address in enumerate(self.addresses) if rank != self.rank)

    @property
    def head(self) -> str:
        return self.addresses[0]


class Connection(t.NamedTuple):
    address: str  # of this side
    port: int
    peer: str
    peer_port: int
    state: str
    inode: str


def peers_of(parameters: t.Mapping[str, t.Any]) -> Peers | None:
    """The peers that a release.json names; None for a host that serves alone."""
    addresses = tuple(text(address) for address in sequence(parameters.get("nodes")))
    rank, port = whole(parameters.get("rank")), whole(parameters.get("master_port"))
    if len(addresses) < 2 or rank is None or not port or not 0 <= rank < len(addresses):
        return None
    return Peers(addresses, rank, port)


def connections(table: str) -> t.Iterator[Connection]:
    """/proc/net/tcp or tcp6."""
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 9 and fields[1].count(":") == fields[2].count(":") == 1:
            ends = [end.split(":") for end in fields[1:3]]
            with contextlib.suppress(ValueError):
                (own, own_port), (peer, peer_port) = ((from_proc(host), int(port, 16)) for host, port in ends)
                yield Connection(_plain(own), own_port, _plain(peer), peer_port, fields[3], fields[9])


def _plain(address: str) -> str:
    """IPv4 in the place of the same address in IPv6: torch listens on both with one socket."""
    if not address:
        return ""
    parsed = ipaddress.ip_address(address)
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def read_connections(proc: str = "/proc") -> list[Connection]:
    found: list[Connection] = []
    for name in _TABLES:
        with contextlib.suppress(OSError), open(os.path.join(proc, "net", name), encoding="ascii") as file:
            found += connections(file.read())
    return found


def missing(peers: Peers, seen: t.Iterable[Connection]) -> list[str]:
    """The addresses that should have a connection with this host at the master port of the head, and have none."""
    linked = [one for one in seen if one.state == ESTABLISHED]
    if peers.rank:
        has_head = any((one.peer, one.peer_port) == (peers.head, peers.port) for one in linked)
        return [] if has_head else [peers.head]
    # a host may come with another address of the same rail: then only their number counts
    own = set(peers.addresses[:1]) | {one.address for one in linked if one.port == peers.port}
    found = {one.peer for one in linked if one.port == peers.port} - own
    absent = [address for address in peers.others if address not in found]
    return absent if len(found) < len(peers.others) else []


def ends(peers: Peers, seen: t.Iterable[Connection]) -> list[list[t.Any]]:
    """What tells one connection at the master port from a later one: the other host, and the worker's port."""
    linked = [one for one in seen if one.state == ESTABLISHED]
    if peers.rank:
        return sorted([one.peer, one.port] for one in linked if (one.peer, one.peer_port) == (peers.head, peers.port))
    return sorted([one.peer, one.peer_port] for one in linked if one.port == peers.port and one.peer != one.address)


def reach(address: str, port: int, timeout: float = 2.0) -> str:
    """Whether a host answers, and somebody listens there."""
    try:
        socket.create_connection((address, port), timeout).close()
    except ConnectionRefusedError:
        return CLOSED
    except OSError:  # no route, no answer
        return SILENT
    return OPEN


def source(address: str, port: int) -> str:
    """The address of this host that a connection to ADDRESS would come from; empty if it is not known."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))  # sends nothing
        return str(probe.getsockname()[0])
    return ""


def is_listening(container: str, address: str, proc: str = "/proc") -> bool:
    """Whether a process of the CONTAINER, which has the network of the host, listens at ADDRESS (host:port)."""
    host, _colon, port = address.rpartition(":")
    inodes = {
        f"socket:[{one.inode}]"
        for one in read_connections(proc)
        if one.state == LISTENING and str(one.port) == port and one.address in (host, "0.0.0.0", "::")
    }
    if not inodes or not container:
        return False
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):
            with open(os.path.join(proc, pid, "cgroup"), encoding="utf-8", errors="replace") as file:
                if container not in file.read():
                    continue
            folder = os.path.join(proc, pid, "fd")
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    if os.readlink(os.path.join(folder, name)) in inodes:
                        return True
    return False
