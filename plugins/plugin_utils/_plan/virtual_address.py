# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address that the gateways share, by keepalived (VRRP): one of them has it, another takes it over. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

_VARIABLE = "gateway_virtual_address"
# Of the first gateway in the group; each one after it has one less. VRRP knows 1 to 254, and only the order counts.
_FIRST_PRIORITY = 200


class Member(t.NamedTuple):
    """A host of the group gateway. REACHED is where the other ones reach it, ADDRESS its gateway_virtual_address."""

    name: str
    reached: str
    address: str


class Virtual(t.NamedTuple):
    """What keepalived needs on one gateway. OWN and PEERS are addresses that stay with their host."""

    address: str  # the one that moves
    prefix: int
    own: str
    peers: list[str]
    priority: int


def virtual_problem(text: str) -> str:
    """Why TEXT cannot be gateway_virtual_address, or empty."""
    try:
        address, slash, prefix = text.partition("/")
        interface = ipaddress.IPv4Interface(text)
        is_wrong = not slash or address != str(interface.ip) or prefix != str(interface.network.prefixlen)
    except ValueError:
        is_wrong = True
    if is_wrong:
        return "use an IPv4 address with the length of its network, such as 192.168.1.50/24"
    network = interface.network
    if not 8 <= network.prefixlen <= 29:
        return "use one of a network of /8 to /29, such as 192.168.1.50/24, for two gateways and this address"
    if interface.ip in (network.network_address, network.broadcast_address):
        return f"it is the first or the last address of {network}; use a free one between them"
    if interface.ip.is_loopback or interface.ip.is_multicast or interface.ip.is_unspecified:
        return "no client can reach it; use a free address of the gateways' network, such as 192.168.1.50/24"
    return ""


def virtual_address(
    own: str, members: t.Sequence[Member], taken: t.Mapping[str, str]
) -> tuple[Virtual | None, list[str]]:
    """What the gateway OWN needs, None without gateway_virtual_address, and problems.

    TAKEN are the addresses of the units, by name.
    """
    here = next((member for member in members if member.name == own), None)
    if here is None or not any(member.address for member in members):
        return None, []
    problems = list(_problems(here, members, taken))
    if problems:
        return None, problems
    interface = ipaddress.IPv4Interface(here.address)
    found = Virtual(
        address=str(interface.ip),
        prefix=interface.network.prefixlen,
        own=here.reached,
        peers=[member.reached for member in members if member != here],
        priority=max(1, _FIRST_PRIORITY - members.index(here)),
    )
    return found, []


def _problems(here: Member, members: t.Sequence[Member], taken: t.Mapping[str, str]) -> t.Iterator[str]:
    for member in members:
        if member.address != here.address:
            yield (
                f"{_VARIABLE}: {here.address or 'empty'} of {here.name} differs from {member.address or 'empty'} of"
                f" {member.name}; the gateways share one: set the same, in group_vars/gateway"
            )
            return
    if why := virtual_problem(here.address):
        yield f"{_VARIABLE}: {here.address} is not allowed; {why}"
        return
    if len(members) < 2:
        yield f"{_VARIABLE}: {here.name} is alone in the group gateway; name a second host there, or leave it empty"
    interface = ipaddress.IPv4Interface(here.address)
    addresses = {member.name: member.reached for member in members}
    for name, address in {**taken, **addresses}.items():
        if address == str(interface.ip):
            yield f"{_VARIABLE}: {address} is the address of {name}; use one that no host has"
    first: dict[str, str] = {}
    for name, address in addresses.items():
        if not _is_in(address, interface.network):
            yield (
                f"gateway_server_address: {address!r} of {name} is not an IPv4 address in {interface.network}, the"
                f" network of {_VARIABLE}; set it to the one that {name} has there"
            )
        elif first.setdefault(address, name) != name:
            yield f"{first[address]} and {name} of the group gateway have the same address, {address}; name two hosts"


def _is_in(text: str, network: ipaddress.IPv4Network) -> bool:
    try:
        return ipaddress.IPv4Address(text) in network
    except ValueError:
        return False
