# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role container_runtime. One line for each problem."""

from __future__ import annotations

import re

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
        # a mirror of one's own may do without; the default is never fetched in clear text
        if checked.valid(name) and re.match(rf"http://{re.escape(example.split('/')[2])}[:/]", str(checked[name])):
            yield f"{name}: {show(checked[name])} is not allowed; use https://"
    for name in ("container_runtime_docker_key_fingerprint", "container_runtime_toolkit_key_fingerprint"):
        fingerprint = r"([0-9A-Fa-f]\s*){40}"
        yield from matches(
            checked, name, fingerprint, "40 hexadecimal digits, or nothing to accept any key", empty=True
        )
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
