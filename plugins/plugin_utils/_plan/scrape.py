# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Prometheus scrapes what, at which address. Pure.

A unit is a host of the group spark. Two units can be one machine: it has one node exporter then.
"""

from __future__ import annotations

import typing as t

from .._common.addresses import LOOPBACK, is_loopback, is_reachable
from .inventory import Server


class Unit(t.NamedTuple):
    name: str  # in the inventory
    machine: str  # where Ansible connects to
    service: str  # vllm_service_name
    model: str  # name in the catalog
    port: int
    published: str  # vllm_publish_address; empty where another host has the API
    has_key: bool
    reached: str  # ansible_host
    address: str  # monitoring_address
    node_port: int


Target = dict[str, t.Any]


class Scrape(t.NamedTuple):
    """What a host has to do with monitoring."""

    is_server: bool
    is_lead: bool  # the first unit of its machine: it sets up what the machine has once
    listen: str  # address of the node exporter; empty without a unit of that name
    targets: list[Target]  # of its Prometheus
    problems: list[str]


def servers(units: t.Sequence[Unit], named: t.Sequence[Server]) -> list[Server]:
    """Those of the group monitoring; without one each machine watches itself."""
    leads = {unit.machine: unit.name for unit in reversed(units)}
    return list(named) or [Server(name, machine) for machine, name in leads.items()]


def scrape(host: str, units: t.Sequence[Unit], named: t.Sequence[Server]) -> Scrape:
    """For one HOST; NAMED are the hosts of the group monitoring."""
    everybody = servers(units, named)
    server = next((entry for entry in everybody if entry.name == host), None)
    own = next((unit for unit in units if unit.name == host), None)
    watched = [unit for unit in units if named or (server and unit.machine == server.machine)] if server else []
    asked = watched + ([own] if own and own not in watched else [])
    return Scrape(
        is_server=server is not None,
        is_lead=own is not None and _lead(own, units) == own,
        listen=_listen(_lead(own, units), everybody if named else []) if own else "",
        targets=[target for unit in watched for target in _targets(unit, units, server, everybody if named else [])],
        problems=[line for unit in asked for line in _problems(unit, units, everybody if named else [])],
    )


def _lead(unit: Unit, units: t.Sequence[Unit]) -> Unit:
    return next(entry for entry in units if entry.machine == unit.machine)


def _is_remote(unit: Unit, everybody: t.Sequence[Server]) -> bool:
    return any(server.machine != unit.machine for server in everybody)


def _listen(unit: Unit, everybody: t.Sequence[Server]) -> str:
    """Loopback, unless a Prometheus on another machine has to reach it."""
    return _address(unit) if _is_remote(unit, everybody) else LOOPBACK


def _address(unit: Unit) -> str:
    return unit.address or unit.reached


def _targets(unit: Unit, units: t.Sequence[Unit], server: Server | None, everybody: t.Sequence[Server]) -> list[Target]:
    """The label host is the machine: metrics of its node exporter are joined with those of each of its services."""
    lead = _lead(unit, units)
    is_here = server is not None and server.machine == unit.machine
    published = unit.published
    if published == "0.0.0.0":
        published = LOOPBACK if is_here else _address(unit)
    labels = {"host": lead.name, "service": unit.service, "model": unit.model}
    found: list[Target] = []
    if published:
        address = f"{published}:{unit.port}"
        found.append({"job": "vllm", "unit": unit.name, "address": address, "key": unit.has_key, "labels": labels})
    if unit == lead:
        address = f"{_listen(unit, everybody)}:{unit.node_port}"
        found.append(
            {"job": "node", "unit": unit.name, "address": address, "key": False, "labels": {"host": lead.name}}
        )
    return found


def _problems(unit: Unit, units: t.Sequence[Unit], everybody: t.Sequence[Server]) -> t.Iterator[str]:
    if not _is_remote(unit, everybody):
        return
    others = ", ".join(server.name for server in everybody if server.machine != unit.machine)
    if is_loopback(unit.published):
        yield (
            f"vllm_publish_address: {unit.published} of {unit.name} cannot be reached from {others} of the group"
            " monitoring; publish it with vllm_api_key, or remove that group: each Spark watches itself then"
        )
    if not is_reachable(_address(_lead(unit, units))):
        yield (
            f"monitoring_address: {_address(_lead(unit, units))!r} is not an IPv4 address at which {others} can reach"
            f" {_lead(unit, units).name}; set it to one, such as 192.168.1.41"
        )
