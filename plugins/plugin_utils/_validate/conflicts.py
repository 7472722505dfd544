# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that the inventory puts on one machine, under two names, must not share what each has for itself. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in


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
    if service.home == other.home:
        return f"vllm_home: {service.home} is taken twice, {both}; give one of them another folder"
    for one, two in ((other.home, service.home), (service.home, other.cache), (other.home, service.cache)):
        if lies_in(one, two) or lies_in(two, one):
            return f"vllm_home: {one} and {two} lie in one another, {both}; use folders that do not"
    return None
