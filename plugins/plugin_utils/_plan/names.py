# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, folders and addresses of a service. Pure."""

from __future__ import annotations

import posixpath
import typing as t

from .choice import Values


def home(values: Values) -> str:
    """The folder of the service on the host."""
    return str(values["vllm_home"] or f"/opt/{values['vllm_service_name']}")


def container(values: Values, model: t.Mapping[str, t.Any]) -> str:
    return str(values["vllm_container_name"] or f"{values['vllm_service_name']}-{model['name']}")


def unit(values: Values) -> str:
    return f"{values['vllm_service_name']}.service"


def watchdog(values: Values) -> str:
    """The unit and the timer of the watchdog, without what they end with."""
    return f"{values['vllm_service_name']}-watchdog"


def address(values: Values) -> str:
    """Where the port is published. No other variable has a say."""
    return str(values["vllm_publish_address"])


def url(values: Values) -> str:
    """How the host itself reaches the server."""
    published = address(values)
    return f"http://{'127.0.0.1' if published == '0.0.0.0' else published}:{values['vllm_port']}"


def image_ref(values: Values, image: t.Mapping[str, t.Any]) -> str:
    registry = values["vllm_image_registry"]
    return f"{registry}/{image['path']}" if registry else str(image["ref"])


def compile_cache(values: Values) -> str:
    """What the container has at /root/.cache. Each user has one: a release of root's may follow, or precede."""
    user = values["vllm_container_user"]
    return (
        posixpath.join(home(values), "caches", user.partition(":")[0])
        if user
        else posixpath.join(home(values), "cache")
    )
