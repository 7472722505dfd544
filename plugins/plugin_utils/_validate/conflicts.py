# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that the inventory puts on one machine, under two names, must not take the same port or folder. Pure."""

from __future__ import annotations

import typing as t


class Service(t.NamedTuple):
    host: str  # its name in the inventory
    machine: str  # where Ansible connects to
    name: str  # vllm_service_name
    port: str


def clashes(services: t.Sequence[Service]) -> list[str]:
    """One line for each service that comes in the way of an earlier one."""
    lines: list[str] = []
    for number, service in enumerate(services):
        for other in services[:number]:
            if service.machine != other.machine:
                continue
            both = f"{other.host} and {service.host} are one machine ({service.machine})"
            if service.name == other.name:
                lines.append(f"vllm_service_name: {service.name} is taken twice, {both}; give one of them another name")
            elif service.port == other.port:
                lines.append(f"vllm_port: {service.port} is taken twice, {both}; give one of them another port")
    return lines
