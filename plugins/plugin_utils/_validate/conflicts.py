# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that the inventory puts on one machine, under two names, must not share what each has for itself. Pure."""

from __future__ import annotations

import typing as t

from .common import lies_in


class Service(t.NamedTuple):
    host: str  # its name in the inventory
    machine: str  # where Ansible connects to
    name: str  # vllm_service_name
    port: str
    home: str
    container: str
    cache: str  # hf_cache_path, which two services may share


def clashes(services: t.Sequence[Service]) -> list[str]:
    """One line for each service that comes in the way of an earlier one."""
    return [
        line
        for number, service in enumerate(services)
        for other in services[:number]
        if service.machine == other.machine and (line := _clash(service, other))
    ]


def _clash(service: Service, other: Service) -> str | None:
    both = f"{other.host} and {service.host} are one machine ({service.machine})"
    if service.name == other.name:
        return f"vllm_service_name: {service.name} is taken twice, {both}; give one of them another name"
    if service.port == other.port:
        return f"vllm_port: {service.port} is taken twice, {both}; give one of them another port"
    if service.container == other.container:
        return f"vllm_container_name: {service.container} is taken twice, {both}; give one of them another name"
    if _nested(service.home, other.home):
        at = service.home if service.home == other.home else f"{other.home} and {service.home} lie in one another"
        return f"vllm_home: {at}{' is taken twice' if at == service.home else ''}, {both}; give one of them another folder"
    for home, cache in ((service.home, other.cache), (other.home, service.cache)):
        if _nested(home, cache):
            return f"vllm_home: {home} and hf_cache_path {cache} lie in one another, {both}; use two folders that do not"
    return None


def _nested(one: str, other: str) -> bool:
    return lies_in(one, other) or lies_in(other, one)
