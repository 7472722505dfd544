# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses for the cables between Sparks: which interface gets which, and what is measured afterwards. Pure.

A pair has one cable, a ring of three has three, and each cable has a subnet for each of its two rails. A switch has one
subnet for each rail. The same hosts, cables and network always give the same addresses.
"""

from __future__ import annotations

import collections
import ipaddress
import itertools
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.fabric import MARKER, own_addresses

from .fabric_cabling import End, Link, Member, Port, components, former, link, member, natural, outside, seen

COUNTS = {"pair": (2, 2), "ring": (3, 3), "switch": (2, 64)}
SUBNETS = {"pair": 2, "ring": 6, "switch": 2}
_LOCAL = ("169.254.", "fe80:")  # every host may have these everywhere
_HEADER = f"""{MARKER} Do not edit:
# playbooks/fabric.yml writes it again, playbooks/remove_fabric.yml removes it.
network:
  version: 2
  ethernets:
"""


class Settings(t.NamedTuple):
    """Variables of the role, which all hosts of a fabric have in common."""

    topology: str
    network: str
    mtu: int  # 0 leaves it


class Plan(t.NamedTuple):
    problems: list[str]  # one line each; with any of them there is nothing else
    notices: list[str]
    files: dict[str, str]  # content of the netplan file by host
    addresses: dict[str, dict[str, str]]  # by host and interface, with the prefix
    checks: list[dict[str, t.Any]]  # what is measured: from a client to a server, by rail


class Place(t.NamedTuple):
    """An interface and its address."""

    host: str
    port: Port
    subnet: ipaddress.IPv4Network
    number: int

    @property
    def address(self) -> str:
        return str(self.subnet[self.number])

    @property
    def text(self) -> str:
        return f"{self.address}/{self.subnet.prefixlen}"


def plan(hosts: t.Mapping[str, t.Mapping[str, t.Any]]) -> Plan:
    """HOSTS are the hosts of the fabric in the order of the inventory, each with the result of fabric_info as info, and
    its values of the settings."""
    read = {name: host for name, host in hosts.items() if host.get("info")}
    settings = [(name, Settings(host["topology"], host["network"], int(host["mtu"]))) for name, host in read.items()]
    lines = [
        f"{name} was not read: it cannot be reached, or -l leaves it out; a plan needs all hosts of the fabric"
        for name in hosts
        if name not in read
    ]
    if settings:
        lines += _different(settings)
        lines += _count(settings[0][1], list(hosts))
    if lines:
        return _refused(lines)
    chosen = settings[0][1]
    members = [member(name, host["info"]) for name, host in hosts.items()]
    links, lines, notices = cables(chosen.topology, members)
    places = [] if lines else _places(chosen, members, links)
    lines += _room(chosen, places)
    if lines:
        return _refused(lines)
    lines += [line for each in members for line in _host_problems(each, [p for p in places if p.host == each.name])]
    if lines:
        return _refused(lines)
    notices += _rail_notices(places, members)
    return Plan(
        problems=[],
        notices=notices,
        files={each.name: _file([p for p in places if p.host == each.name], chosen.mtu) for each in members},
        addresses={each.name: {p.port.name: p.text for p in places if p.host == each.name} for each in members},
        checks=_checks(chosen, members, places),
    )


def _refused(lines: t.Iterable[str]) -> Plan:
    return Plan(list(dict.fromkeys(lines)), [], {}, {}, [])


def _different(settings: t.Sequence[tuple[str, Settings]]) -> t.Iterator[str]:
    first, wanted = settings[0]
    for name, found in settings[1:]:
        for field, one, other in zip(Settings._fields, wanted, found, strict=True):
            if one != other:
                yield f"fabric_{field}: {other} of {name} differs from {one} of {first}; set the same for both"


def _count(settings: Settings, names: t.Sequence[str]) -> t.Iterator[str]:
    low, high = COUNTS[settings.topology]
    if not low <= len(names) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        yield (
            f"fabric_topology: {settings.topology} needs {wanted} hosts, and the group has {len(names)}"
            f" ({', '.join(names)}); set it to one of {', '.join(COUNTS)}, or change the group"
        )


# ---- cables ------------------------------------------------------------------------------------------------------


def cables(topology: str, members: t.Sequence[Member]) -> tuple[list[Link], list[str], list[str]]:
    """Links, problems and notices. The links of a switch are its ports, each as a link to itself."""
    lines = [line for each in members for line in _unusable(each, 2 if topology == "ring" else 1)]
    if lines:
        return [], lines, []
    links = seen(members)
    if topology == "switch":
        ends = [End(each.name, each.cabled[0]) for each in members]
        return [(end, end) for end in ends], list(_apart(members, links, ends)), []
    lines = [
        f"{one} and port {other.port} see each other; connect other hosts, or for a switch set fabric_topology: switch"
        for one, other in links
        if one.host == other.host
    ]
    if lines:
        return [], lines, []
    blocked = {
        end: f"{end} is cabled to {name}, and {topology} means cables between the hosts; for a switch set"
        " fabric_topology: switch"
        for end, name in outside(members).items()
    }
    return _pair(members, links, blocked) if topology == "pair" else _ring(members, links, blocked)


def _unusable(host: Member, count: int) -> t.Iterator[str]:
    if not host.ports:
        yield f"{host.name} has no ConnectX-7 (no interface with the PCI id 15b3:1021)"
    elif len(host.cabled) < count:
        down = [each.name for each in host.ports if not each.is_up]
        if down:
            remedy = "; ".join(f"sudo ip link set {name} up" for name in down)
            yield f"{host.name}: no carrier; interfaces are down, so run there: {remedy}"
            return
        taken = [each.name for each in host.ports if each.name in host.management]
        why = f" ({', '.join(taken)} is what the host is reached by, and is not touched)" if taken else ""
        cabled = ", ".join(map(str, host.cabled)) or "none"
        yield f"{host.name}: no carrier; {count} cabled port{'s' * (count > 1)} needed, cabled: {cabled}{why}"


def _pair(
    members: t.Sequence[Member], links: t.Sequence[Link], blocked: t.Mapping[End, str]
) -> tuple[list[Link], list[str], list[str]]:
    """A second cable, and one to something else, are no obstacle: one cable between the two is enough."""
    reached = {
        End(each.name, number): f"{End(each.name, number)} is what the host is reached by, and is not touched; use"
        " another port"
        for each in members
        for number in each.numbers
        if each.is_management(number)
    }
    blocked = {**blocked, **reached}
    known = [ends for ends in links or former(members) if blocked.keys().isdisjoint(ends)]
    free = [[end for end in each.ends if end not in blocked] for each in members]
    if not known and (links or not all(free)):
        wanted = [end for ends in links for end in ends] or [
            end for each, ends in zip(members, free, strict=True) if not ends for end in each.ends
        ]
        return [], [blocked[end] for end in wanted if end in blocked], []
    chosen = known[0] if known else link(free[0][0], free[1][0])
    notices = [
        f"the cable from {first} to {second} is not used: one has the full speed"
        for first, second in known[1:]
        if links
    ]
    if not known and (len(free[0]) > 1 or len(free[1]) > 1):
        notices = [f"cables could not be seen; assumed: {chosen[0]} to {chosen[1]}"]
    return [chosen], [], notices


def _ring(
    members: t.Sequence[Member], links: t.Sequence[Link], blocked: t.Mapping[End, str]
) -> tuple[list[Link], list[str], list[str]]:
    """What is seen is taken as it is. What cannot be seen is assumed: port 0 of each host to port 1 of the next one."""
    if blocked:  # it takes both ports of each host
        return [], list(blocked.values()), []
    names = [each.name for each in members]
    following = [*members[1:], members[0]]
    assumed = [
        link(End(each.name, each.numbers[0]), End(following[index].name, following[index].numbers[1]))
        for index, each in enumerate(members)
    ]
    pairs = {frozenset((one.host, other.host)): (one, other) for one, other in links}
    if len(pairs) == len(links) == 3:
        return sorted(links, key=_order), [], []
    known = former(members)
    if len(known) == 3 and set(links) <= set(known):
        return sorted(known, key=_order), [], []
    if set(links) <= set(assumed) and (not links or any(each.is_silent for each in members)):
        text = ", ".join(f"{one} to {other}" for one, other in sorted(assumed, key=_order))
        return sorted(assumed, key=_order), [], [f"not all cables could be seen; assumed: {text}"]
    text = ", ".join(f"{one} to {other}" for one, other in links)
    missing = [
        f"{one} and {other}" for one, other in itertools.combinations(names, 2) if frozenset((one, other)) not in pairs
    ]
    return [], [f"a ring needs one cable between each two hosts; seen: {text}; none between {', '.join(missing)}"], []


def _order(ends: Link) -> t.Any:
    return [natural(end.host) for end in ends]


def _apart(members: t.Sequence[Member], links: t.Sequence[Link], ends: t.Sequence[End]) -> t.Iterator[str]:
    """Where hosts see one another by these ports, one that answers nobody is not on the same switch."""
    groups = components(members, [each for each in links if set(each) <= set(ends)])
    largest = max(groups, key=len)
    for each in members:
        if len(largest) > 1 and each.name not in largest and not each.is_silent:
            others = ", ".join(sorted(largest, key=natural))
            yield f"{each.name} is not on the switch of {others}: they see one another, and nobody sees {each.name}"


# ---- addresses ---------------------------------------------------------------------------------------------------


def subnets(network: str, count: int) -> list[ipaddress.IPv4Network]:
    """/24 where the network has room for them, else equal parts."""
    whole = ipaddress.IPv4Network(network)
    prefix = max(24, whole.prefixlen + (count - 1).bit_length())
    return list(itertools.islice(whole.subnets(new_prefix=prefix), count))


def _places(settings: Settings, members: t.Sequence[Member], links: t.Sequence[Link]) -> list[Place]:
    parts = subnets(settings.network, SUBNETS[settings.topology])
    hosts = {each.name: each for each in members}
    if settings.topology == "switch":
        numbers = _numbers(members, parts)
        return [
            Place(end.host, port, parts[port.rail], numbers[end.host])
            for end, _same in links
            for port in hosts[end.host].rails(end.port)[:2]
        ]
    return [
        Place(end.host, port, parts[2 * number + port.rail], 1 + side)
        for number, ends in enumerate(links)
        for side, end in enumerate(ends)
        for port in hosts[end.host].rails(end.port)[:2]
    ]


def _room(settings: Settings, places: t.Sequence[Place]) -> t.Iterator[str]:
    last = max((place.number for place in places), default=0)
    room = min((place.subnet.num_addresses - 2 for place in places), default=0)
    if last > room:
        yield f"fabric_network: {settings.network} has room for {room} hosts on a rail; use a larger one"


def _numbers(members: t.Sequence[Member], parts: t.Sequence[ipaddress.IPv4Network]) -> dict[str, int]:
    """A host keeps the number that it has; a new one gets the lowest free number."""
    found: dict[str, int] = {}
    ordered = sorted(members, key=lambda each: natural(each.name))
    for each in ordered:
        for text in itertools.chain.from_iterable(own_addresses(each.file).values()):
            address = ipaddress.IPv4Interface(text).ip
            kept = [int(address) - int(part.network_address) for part in parts if address in part]
            if kept and kept[0] not in found.values():
                found.setdefault(each.name, kept[0])
    free = (number for number in itertools.count(1) if number not in found.values())
    for each in ordered:
        if each.name not in found:
            found[each.name] = next(free)
    return found


def _host_problems(host: Member, places: t.Sequence[Place]) -> t.Iterator[str]:
    if not host.has_netplan:
        yield f"{host.name} has no netplan; the role writes its configuration only"
    if not host.has_systemd:
        yield f"{host.name} has no systemd-run, which the fall-back needs"
    own = own_addresses(host.file)
    by_file: dict[str, list[str]] = collections.defaultdict(list)
    for place in places:
        port = place.port
        for path in port.files:
            by_file[path].append(port.name)
        if port.master:
            yield f"{port.name} of {host.name} is part of {port.master}; remove it from there"
        if not port.carrier:
            yield f"{host.name}: no carrier on {port.name}, and its twin has one; run: sudo ip link set {port.name} up"
        foreign = [
            text for text in port.addresses if text not in own.get(port.name, []) and not text.startswith(_LOCAL)
        ]
        for text in foreign:
            if ":" not in text:
                yield (
                    f"{port.name} of {host.name} has {text}, which is not of this role; remove it:"
                    f" sudo ip address del {text} dev {port.name}"
                )
    for path, names in by_file.items():
        yield (
            f"{path} of {host.name} configures {', '.join(names)}; move it away (sudo mv {path} /root/), run"
            " `sudo netplan apply` there, and try again"
        )
    yield from _overlaps(host, places)


def _overlaps(host: Member, places: t.Sequence[Place]) -> t.Iterator[str]:
    names = {place.port.name for place in places} | set(own_addresses(host.file))  # the latter are replaced
    taken = [(text, name) for name, texts in host.addresses.items() for text in texts]
    taken += [(text, each.name) for each in host.ports if each.name not in names for text in each.addresses]
    taken += [(route["to"], route["interface"]) for route in host.routes if route["interface"] not in names]
    for text, name in dict.fromkeys(taken):
        used = _network(text)
        if used is None or text.startswith(_LOCAL):
            continue
        for subnet in dict.fromkeys(place.subnet for place in places):
            if used.overlaps(subnet):
                yield (
                    f"fabric_network: {subnet} overlaps {text} of {name} on {host.name}; choose a network that no"
                    " host uses, such as 10.201.0.0/22"
                )


def _network(text: str) -> ipaddress.IPv4Network | None:
    """None for IPv6, and for the default route, which overlaps everything."""
    try:
        return None if text in ("default", "0.0.0.0/0") else ipaddress.IPv4Interface(text).network
    except ValueError:
        return None


def _rail_notices(places: t.Sequence[Place], members: t.Sequence[Member]) -> list[str]:
    found = []
    for each in members:
        for number in sorted({place.port.port for place in places if place.host == each.name}):
            if len(each.rails(number)) == 1:
                name = each.rails(number)[0].name
                found.append(f"{each.name} has only one rail of port {number} ({name}): half of the speed")
    return found


def _file(places: t.Sequence[Place], mtu: int) -> str:
    """The port is not waited for at boot: a cable may be out. It takes no routes from others."""
    text = _HEADER
    for place in sorted(places, key=lambda each: (each.port.port, each.port.rail)):
        text += f"    {place.port.name}:\n      addresses: [{place.text}]\n"
        text += "      dhcp4: false\n      dhcp6: false\n      accept-ra: false\n      optional: true\n"
        text += f"      mtu: {mtu}\n" if mtu else ""
    return text


# ---- what is measured --------------------------------------------------------------------------------------------


def _checks(settings: Settings, members: t.Sequence[Member], places: t.Sequence[Place]) -> list[dict[str, t.Any]]:
    """Each cable once for each rail; with a switch each host with the next one, so that each sends and receives."""
    found: list[dict[str, t.Any]] = []
    hosts = {each.name: each for each in members}
    for subnet in dict.fromkeys(place.subnet for place in places):
        ends = sorted((place for place in places if place.subnet == subnet), key=lambda each: each.number)
        following = ends[1:] + ends[:1] if len(ends) > 2 else ends[1:]
        for client, server in zip(ends, following, strict=False):
            has_rdma = all(hosts[end.host].has_perftest and end.port.device for end in (client, server))
            found.append(
                {
                    "number": len(found),
                    "rail": client.port.rail,
                    "method": "rdma" if has_rdma else "sockets",
                    "mtu": settings.mtu or min(client.port.mtu, server.port.mtu),
                    "client": _end(client),
                    "server": _end(server),
                }
            )
    return found


def _end(place: Place) -> dict[str, t.Any]:
    port = place.port
    return {
        "host": place.host,
        "address": place.address,
        "interface": port.name,
        "device": port.device,
        "mac": port.mac,
        "speed_mbps": port.speed,
    }
