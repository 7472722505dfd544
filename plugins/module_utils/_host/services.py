# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of this collection on a host, by the units that the role vllm has written.

A label of a container is a hint, never an identity: anybody can write one, and a container inherits those of its image.
"""

from __future__ import annotations

import os
import re
import stat
import typing as t

from .peers import is_listening

if t.TYPE_CHECKING:
    from .docker import Container

UNITS = "/etc/systemd/system"
# What a file begins with that the role has written.
WRITTEN = "# Written by dgxspark.vllm"
NAME = re.compile(r"vllm(-[a-z0-9-]{1,25})?")
RELEASE = re.compile(r"[0-9a-f]{12}")

SERVICE_LABEL = "dgxspark.vllm.service"
RELEASE_LABEL = "dgxspark.vllm.release"

# Longer files are not ours.
_LONGEST = 1024 * 1024


def is_ours(labels: t.Mapping[str, t.Any]) -> bool:
    """Whether a container with these labels is one of a service: its unit is ours, and has the release of the label."""
    service, release = labels.get(SERVICE_LABEL), labels.get(RELEASE_LABEL)
    if not isinstance(service, str) or not isinstance(release, str) or not RELEASE.fullmatch(release):
        return False
    home = home_of(service)
    return home is not None and os.path.isdir(os.path.join(home, "releases", release))


def is_our_own(container: Container) -> bool:
    """The same, and proven by what only who starts a container can give it: an image may bring labels along.

    That is the folder for what vLLM compiles, cache/, or caches/UID of a container with a user of its own.
    """
    home = home_of(container.labels.get(SERVICE_LABEL, ""))
    if home is None or not is_ours(container.labels):
        return False
    return has_cache_of(home, container.binds)


def has_cache_of(home: str, binds: t.Iterable[str]) -> bool:
    """Whether one of the mounted folders is where the containers of the service with this folder compile."""
    binds = [os.path.realpath(source) for source in binds if "\0" not in source]
    cache, caches = (os.path.realpath(f"{home}/{name}") for name in ("cache", "caches"))
    return any(bind == cache or os.path.dirname(bind) == caches for bind in binds)


def holds(container: Container | None, address: str) -> bool:
    """Whether a container may get the key: it is one of a service, runs, and has the port at ADDRESS (host:port)."""
    if container is None or container.status != "running" or not is_our_own(container):
        return False
    if container.is_in_host_network and not is_listening(container.id, address):
        return False
    return container.published == address


def home_of(service: str) -> str | None:
    """The folder of a service, by its unit; None if there is no unit of that name, or if somebody else wrote it."""
    if not NAME.fullmatch(service):
        return None
    found = re.search(r"^WorkingDirectory=(/.*)/current$", written(f"{UNITS}/{service}.service"), re.MULTILINE)
    return found[1] if found else None


def written(path: str) -> str:
    """The text of a file that the role has written; empty for any other file, and for none."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST)
    except (OSError, ValueError):
        return ""
    return text if text.startswith(WRITTEN) else ""


def unit_files(service: str) -> list[str]:
    """Where the role writes the units of a service."""
    return [f"{UNITS}/{service}{end}" for end in (".service", "-watchdog.service", "-watchdog.timer")]
