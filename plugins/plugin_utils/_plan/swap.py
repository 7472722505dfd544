# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap groups: services of one host that share its memory by turns. Pure."""

from __future__ import annotations

import typing as t

from . import names
from .budget import Unread
from .choice import Values
from .services import name_of

GROUP = "vllm_swap_group"


class Member(t.NamedTuple):
    """Another service of the same group."""

    host: str  # its name in the inventory
    service: str
    unit: str
    home: str
    is_earlier: bool  # in the list of the services


def others(own: str, machine: str, services: t.Sequence[Values | Unread]) -> tuple[Member, ...]:
    """Those that take turns with the service OWN of the host MACHINE. SERVICES are all that it lists."""
    listed = _listed(services)
    group = next((values[GROUP] for name, values in listed if name == own), "")
    if not group:
        return ()
    order = [name for name, _values in listed]
    return tuple(
        Member(
            name_of(machine, name), name, names.unit(values), names.home(values), order.index(name) < order.index(own)
        )
        for name, values in listed
        if name != own and values[GROUP] == group
    )


def problem(host: str, group: str, serves_together: bool, services: t.Sequence[Values | Unread]) -> str:
    """One line, if HOST, a service of GROUP, cannot take turns. SERVICES are all that its machine lists."""
    if serves_together:
        return f"{GROUP}: {group} of {host} is not allowed with vllm_nodes; services that serve alone take turns"
    if not services:
        return (
            f"{GROUP}: {group} of {host} is not in a list of services; list those that take turns in vllm_services of"
            " their host"
        )
    if any(isinstance(each, Unread) and each.shares is None for each in services):  # it may be another one of the group
        return ""
    if sum(each[GROUP] == group for _name, each in _listed(services)) < 2:
        return (
            f"{GROUP}: {group} has {host} alone, and a group takes turns on one host; give it to another service of"
            " this host, or remove it"
        )
    return ""


def _listed(services: t.Sequence[Values | Unread]) -> list[tuple[str, Values]]:
    """Names and values. A service of which neither can be read is left out: its own run refuses it."""
    found: list[tuple[str, Values]] = []
    for each in services:
        values = each.shares if isinstance(each, Unread) else each
        if values:
            found.append((values["vllm_service_name"], values))
    return found
