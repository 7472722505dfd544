# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of one host, as vllm_services lists them: each becomes a host of the inventory. Pure.

All that the collection does, it does to a host of the inventory: a service that is one needs nothing of its own.
"""

from __future__ import annotations

import typing as t

from .._common.text import show

LIST = "vllm_services"
# What the inventory plugin says of each service: the host that lists it. Playbooks may read it, nobody sets it.
HOST = "dgxspark_host"
# Groups of what a machine has once, whatever it serves. Its first service stands for it there.
ONCE = ("fabric", "gateway", "monitoring")
# Of a service, but not for its entry: the first is its name, the other would nest.
_NOT_IN_ENTRY = {"vllm_service_name": "name", LIST: "another entry"}


class Part(t.NamedTuple):
    host: str  # its name in the inventory
    variables: dict[str, t.Any]


def name_of(host: str, service: str) -> str:
    """The name of a service in the inventory."""
    return f"{host}-{service}"


def problems(host: str, listed: t.Any, taken: t.Container[str]) -> list[str]:
    """One line for each reason why HOST cannot be divided. TAKEN are names of hosts and groups."""
    if not isinstance(listed, (list, tuple)):
        return [f"{LIST}: {show(listed)} is not allowed; write the list out, each item with its name"]
    lines: list[str] = []
    seen: set[str] = set()
    for number, entry in enumerate(listed, 1):
        name = entry.get("name") if isinstance(entry, t.Mapping) else None
        if not isinstance(name, str) or not name or "{{" in name:
            lines.append(f"{LIST}: item {number} has no name; write one out, such as name: vllm-embed")
            continue
        if name in seen:
            lines.append(f"{LIST}: {name} is there twice; give one of them another name")
        elif name_of(host, name) in taken:
            lines.append(f"{LIST}: {name} would be {name_of(host, name)} in the inventory, which has that name already")
        seen.add(name)
        lines += _keys(name, entry)
    return lines


def _keys(name: str, entry: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    for key in entry:
        if key in _NOT_IN_ENTRY:
            yield f"{LIST}: {key} of {name} is not allowed; use {_NOT_IN_ENTRY[key]}"
        elif key != "name" and not str(key).startswith("vllm_"):
            yield f"{LIST}: {key} of {name} is not of a service but of its host; set it beside {LIST}"


def parts(host: str, listed: t.Iterable[t.Mapping[str, t.Any]], own: t.Mapping[str, t.Any]) -> list[Part]:
    """The services of HOST in their order. OWN are its variables, which those of an entry replace."""
    return [
        Part(
            name_of(host, entry["name"]),
            {
                **own,
                **{key: value for key, value in entry.items() if key != "name"},
                "vllm_service_name": entry["name"],
                HOST: host,
            },
        )
        for entry in listed
    ]
