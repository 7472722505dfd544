# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of other hosts of the inventory, also of those that are not in the play."""

from __future__ import annotations

import typing as t

from .._catalog.specs import Options
from .._catalog.variables import read_variables, with_defaults
from .._common.types import TypedValues
from .budget import SHARES, Unread
from .nodes import Node, Nodes
from .services import HOST


class InventoryError(ValueError):
    """A variable of a host cannot be used: which one, of which host, and why."""


class Server(t.NamedTuple):
    """A host with a program that asks units: Prometheus, or a gateway."""

    name: str
    machine: str  # where Ansible connects to


class Inventory:
    """The hosts as a lookup sees them. KNOWN are the variables of the current host, TEMPLAR is the lookup's."""

    def __init__(self, known: t.Mapping[str, t.Any], templar: t.Any) -> None:
        self._hosts = known["hostvars"]
        self._groups = known.get("groups") or {}
        self._templar = templar

    def __contains__(self, host: object) -> bool:
        return host in self._hosts

    def group(self, name: str) -> list[str]:
        return list(self._groups.get(name) or [])

    def machine(self, host: str) -> tuple[str, str]:
        """Where Ansible connects to, with the port and without."""
        available = {"ansible_host": host, "ansible_port": "", **self._hosts.raw_get(host)}
        values, _errors = read_variables(["ansible_host", "ansible_port"], available, self._templar)
        address, port = str(values.get("ansible_host", host)), values.get("ansible_port", "")
        return (f"{address} port {port}" if port else address), address

    def values(self, host: str, options: Options, names: t.Iterable[str]) -> TypedValues:
        """The variables with these NAMES, with the defaults of the OPTIONS. Raises InventoryError."""
        available = with_defaults(options, self._hosts.raw_get(host))
        values, errors = read_variables([name for name in names if name in available], available, self._templar)
        for name, error in errors.items():
            raise InventoryError(f"{name} of {host}: cannot be read") from error
        typed, lines = TypedValues.of(options, values)
        if lines:
            raise InventoryError(f"{host}: {lines[0]}")
        return typed


def members(names: t.Sequence[str], known: t.Mapping[str, t.Any], templar: t.Any, options: Options) -> Nodes:
    """The hosts with these NAMES (vllm_nodes), and the rank of the current one. Raises InventoryError."""
    if not names:
        return Nodes()
    own = str(known.get("inventory_hostname"))
    if own not in names:
        raise InventoryError(f"vllm_nodes: {', '.join(names)} are not {own}; add it, or empty vllm_nodes of {own}")
    inventory = Inventory(known, templar)
    for name in names:
        if name not in inventory:
            raise InventoryError(f"vllm_nodes: {name} is not in the inventory")
    read = (inventory.values(name, options, ["vllm_node_address"])["vllm_node_address"] for name in names)
    return Nodes(tuple(Node(*pair) for pair in zip(names, read, strict=True)), list(names).index(own))


def siblings(
    known: t.Mapping[str, t.Any], templar: t.Any, options: Options, names: t.Sequence[str]
) -> list[TypedValues | Unread]:
    """Variables with these NAMES, and those of SHARES, of all services that the host of the current one lists."""
    if not known.get(HOST):
        return []
    inventory = Inventory(known, templar)

    def read(host: str) -> TypedValues | Unread:
        try:
            return inventory.values(host, options, {**dict.fromkeys(names), **dict.fromkeys(SHARES)})
        except InventoryError as error:
            why = str(error)
        name = str(known["hostvars"].raw_get(host)["vllm_service_name"])
        try:
            return Unread(name, why, inventory.values(host, options, SHARES))
        except InventoryError:
            return Unread(name, why, None)

    return [read(host) for host in inventory.group(known[HOST])]
