# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role container_runtime. One line for each problem."""

from __future__ import annotations

from .._catalog.catalog import Catalog
from .._common.text import show
from .._common.types import TypedValues
from .common import Lines, matches, url


def container_runtime(checked: TypedValues, catalog: Catalog) -> Lines:
    for name, example in (
        ("container_runtime_docker_repository", "https://download.docker.com/linux"),
        ("container_runtime_docker_key_url", "https://download.docker.com/linux/ubuntu/gpg"),
        ("container_runtime_toolkit_repository", "https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH)"),
        ("container_runtime_toolkit_key_url", "https://nvidia.github.io/libnvidia-container/gpgkey"),
    ):
        yield from url(checked, name, example)
    yield from matches(
        checked,
        "container_runtime_toolkit_version",
        r"\d+\.\d+\.\d+(~rc\.\d+)?-\d+",
        "a version of the package such as 1.19.0-1",
    )
    if not checked.valid("container_runtime_daemon_options"):
        return
    options = checked["container_runtime_daemon_options"]
    for key in ("features", "runtimes"):
        if key in options and not isinstance(options[key], dict):
            where = f"container_runtime_daemon_options.{key}"
            yield f"{where}: {show(options[key])} is not allowed; use a mapping, as in Docker's daemon.json"
            return
    cdi = (options.get("features") or {}).get("cdi")
    if checked.valid("container_runtime_cdi") and checked["container_runtime_cdi"] and cdi is False:
        yield (
            "container_runtime_daemon_options.features.cdi: false contradicts container_runtime_cdi: true;"
            " set container_runtime_cdi to false"
        )
    default = options.get("default-runtime")
    if default is not None and default not in {"runc", "nvidia", *(options.get("runtimes") or {})}:
        yield (
            f"container_runtime_daemon_options.default-runtime: {show(default)} is not allowed;"
            " use runc, nvidia or one of your runtimes"
        )
