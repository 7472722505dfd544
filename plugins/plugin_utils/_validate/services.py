# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for a host that lists its services, and for each of them. Pure."""

from __future__ import annotations

import typing as t

from .._plan.services import HOST, LIST, name_of, problems

_FILE = "put the line `plugin: dgxspark.vllm.services` into a file services.yml beside hosts.yml"


def services(own: str, variables: t.Mapping[str, t.Any], service: t.Any, taken: t.Container[str]) -> t.Iterator[str]:
    """For the host OWN with its raw VARIABLES. SERVICE is the value of vllm_service_name."""
    host, listed = variables.get(HOST), variables.get(LIST)
    if host and own != name_of(str(host), str(service)):
        yield (
            f"vllm_service_name: {service} is not what {own} is called in {LIST}; leave it to that list, and choose one"
            f" of its services by its name in the inventory: -l {own}"
        )
    elif not host and listed:
        found = problems(own, listed, taken)
        yield from found or [f"{LIST}: the inventory does not divide {own} into its services; {_FILE}"]
