# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which QSFP port of which Spark is cabled to which, as far as LLDP and echo replies show it. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.fabric import own_addresses

Facts = t.Mapping[str, t.Any]


class Port(t.NamedTuple):
    """One interface: a QSFP port has one for each rail."""

    name: str
    port: int
    rail: int
    device: str
    mac: str
    is_up: bool
    carrier: bool
    speed: int  # Mb/s, 0 if unknown
    mtu: int
    master: str
    addresses: tuple[str, ...]
    files: tuple[str, ...]  # of others, that configure it


class Member(t.NamedTuple):
    """A host of the fabric, as fabric_info has read it."""

    name: str  # in the inventory
    hostname: str
    ports: tuple[Port, ...]
    management: tuple[str, ...]
    addresses: Facts  # of other interfaces
    routes: tuple[Facts, ...]
    neighbors: tuple[Facts, ...]
    file: str  # the netplan file of ours
    has_netplan: bool
    has_systemd: bool
    has_perftest: bool

    def rails(self, port: int) -> list[Port]:
        return [each for each in self.ports if each.port == port]

    @property
    def numbers(self) -> list[int]:
        return sorted({each.port for each in self.ports})

    def is_management(self, port: int) -> bool:
        return any(each.name in self.management for each in self.rails(port))

    @property
    def cabled(self) -> list[int]:
        """Ports that have a cable, and are not what the host is reached by."""
        return [
            number
            for number in self.numbers
            if not self.is_management(number) and any(each.carrier for each in self.rails(number))
        ]

    @property
    def ends(self) -> list[End]:
        """Those of the cables."""
        return [End(self.name, number) for number in self.cabled]

    @property
    def is_silent(self) -> bool:
        """Whether nobody can see it: it answers from its link-local addresses only."""
        ports = [each for each in self.ports if each.carrier]
        return not any(text.startswith("fe80:") for each in ports for text in each.addresses)


class End(t.NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"port {self.port} of {self.host}"


Link = tuple[End, End]


def member(name: str, info: Facts) -> Member:
    """From what fabric_info returns."""
    commands = info["commands"]
    return Member(
        name=name,
        hostname=info["hostname"],
        ports=tuple(_port(each) for each in info["ports"]),
        management=tuple(info["management"]),
        addresses=info["addresses"],
        routes=tuple(info["routes"]),
        neighbors=tuple(info["neighbors"]),
        file=info["file"] or "",
        has_netplan=bool(commands.get("netplan")),
        has_systemd=bool(commands.get("systemd-run")),
        has_perftest=bool(commands.get("ib_write_bw") and commands.get("ib_write_lat")),
    )


def _port(info: Facts) -> Port:
    return Port(
        name=info["name"],
        port=info["port"],
        rail=info["rail"],
        device=info["device"] or "",
        mac=info["mac"],
        is_up=info["is_up"],
        carrier=info["carrier"],
        speed=info["speed_mbps"] or 0,
        mtu=info["mtu"] or 1500,
        master=info["master"] or "",
        addresses=tuple(info["addresses"]),
        files=tuple(info["files"]),
    )


def natural(name: str) -> list[tuple[int, str]]:
    """spark2 before spark10."""
    return [(int(each), "") if each.isdigit() else (-1, each) for each in re.split(r"(\d+)", name)]


def link(one: End, other: End) -> Link:
    first, second = sorted((one, other), key=lambda end: (natural(end.host), end.port))
    return first, second


def seen(members: t.Sequence[Member]) -> list[Link]:
    """Cables between two ports of these hosts. On a switch each port sees all others."""
    found = set()
    for each in members:
        numbers = {port.name: port.port for port in each.ports}
        for neighbor in each.neighbors:
            end = _neighbor(members, neighbor)
            own = numbers.get(neighbor["port"])
            if end is not None and own is not None and end != End(each.name, own):
                found.add(link(End(each.name, own), end))
    return sorted(found, key=lambda ends: [(natural(end.host), end.port) for end in ends])


def former(members: t.Sequence[Member]) -> list[Link]:
    """Cables between hosts by the addresses that they have from an earlier run, where both ends still have carrier."""
    ends: dict[t.Any, set[End]] = {}
    for each in members:
        for name, texts in own_addresses(each.file).items():
            for port in each.ports:
                if port.name == name and port.port in each.cabled:
                    network = ipaddress.IPv4Interface(texts[0]).network
                    ends.setdefault(network, set()).add(End(each.name, port.port))
    return sorted({link(*pair) for pair in ends.values() if len(pair) == 2})


def outside(members: t.Sequence[Member]) -> dict[End, str]:
    """Ports whose cable ends at none of these hosts, and what is there: a switch, or a host of another group."""
    found: dict[End, str] = {}
    for each in members:
        for number in each.numbers:
            names = {port.name for port in each.rails(number)}
            there = [neighbor for neighbor in each.neighbors if neighbor["port"] in names]
            strangers = [neighbor for neighbor in there if not _is_of(members, neighbor)]
            named = [neighbor["host"] for neighbor in strangers if neighbor["host"]]
            if named:
                found[End(each.name, number)] = f"{min(named)} (LLDP)"
            elif strangers and len(strangers) == len(there):  # more than the other end may answer, such as a container
                addresses = min(neighbor["address"] for neighbor in strangers)
                found[End(each.name, number)] = f"a host that is not in the group ({addresses})"
    return found


def _is_of(members: t.Sequence[Member], neighbor: Facts) -> bool:
    """Whether one of these hosts is there, also with an interface that is no port, such as a bridge of both rails."""
    addresses = (text for each in members for texts in each.addresses.values() for text in texts)
    return _neighbor(members, neighbor) is not None or (
        bool(neighbor["address"]) and neighbor["address"] in {text.partition("/")[0] for text in addresses}
    )


def _neighbor(members: t.Sequence[Member], neighbor: Facts) -> End | None:
    for each in members:
        for port in each.ports:
            addresses = {text.partition("/")[0] for text in port.addresses}
            by_name = neighbor["host"].partition(".")[0] in (each.hostname, each.name)
            if (
                (neighbor["address"] and neighbor["address"] in addresses)
                or (neighbor["mac"] and neighbor["mac"] == port.mac)
                or (neighbor["host"] and by_name and neighbor["interface"] == port.name)
            ):
                return End(each.name, port.port)
    return None


def components(members: t.Sequence[Member], links: t.Sequence[Link]) -> list[set[str]]:
    """Hosts that see one another, directly or by others."""
    groups = [{each.name} for each in members]
    for one, other in links:
        first = next(group for group in groups if one.host in group)
        second = next(group for group in groups if other.host in group)
        if first is not second:
            first |= second
            groups.remove(second)
    return groups
