# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of container holds a port, as `docker inspect` describes it."""

from __future__ import annotations

import re
import typing as t

from .._outside.text import plain
from .._outside.values import mapping, sequence, text
from .docker import first_inspected, listening_address, parse_inspect, published_address
from .services import SERVICE_LABEL, is_our_own
from .serving import SERVES, access_of, takes_only

PROJECT = "com.docker.compose.project"

# What becomes a part of a command or of a line. Anybody can write any label.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Holder = dict[str, t.Any]
# What has to be known to start it again as it was.
_NOTE: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "kind": (str,),
    "name": (str,),
    "renamed": (str, type(None)),
    "running": (bool,),
    "service": (str, type(None)),
    "enabled": (bool,),
    "restart": (str,),
}


def holder_of(inspected: str, key: str | None = None) -> Holder | None:
    """Who holds the port: `docker inspect --type container NAME`; None if there is no such container.

    kind is service (of this collection), compose or container; restart is Docker's restart policy; renamed is for the
    name that it may get, enabled for what systemd says. same_key is whether its clients send KEY, if that is given.
    """
    entry = first_inspected(inspected)
    if not plain(text(entry.get("Id"))):
        return None
    config, host = mapping(entry.get("Config")), mapping(entry.get("HostConfig"))
    labels = mapping(config.get("Labels"))
    service, project = labels[SERVICE_LABEL] if _is_ours(inspected) else None, _name(labels.get(PROJECT))
    command = [text(entry.get("Path")), *map(text, sequence(entry.get("Args")))]
    environment = list(map(text, sequence(config.get("Env"))))
    return {
        "id": plain(text(entry["Id"])),
        "kind": "service" if service else "compose" if project else "container",
        "name": plain(text(entry.get("Name"))).lstrip("/"),
        "renamed": None,
        "running": bool(mapping(entry.get("State")).get("Running")),
        "service": service,
        "enabled": False,
        "project": project,
        "image": plain(text(config.get("Image"))),
        "restart": plain(text(mapping(host.get("RestartPolicy")).get("Name"))) or "no",
        "published": published_address(entry),
        "listens": listening_address(entry),
        "auto_remove": bool(host.get("AutoRemove")),
        "is_vllm": bool(service) or SERVES.search(" ".join(command)) is not None,
        **access_of(command, environment),
        **({"same_key": takes_only(key, command, environment)} if key else {}),
    }


def _is_ours(inspected: str) -> bool:
    container = parse_inspect(inspected)
    return container is not None and is_our_own(container)


def _name(label: object) -> str | None:
    return label if isinstance(label, str) and _NAME.fullmatch(label) else None


def with_unit(holder: Holder, shown: str) -> Holder:
    """The same after `systemctl show` of its unit: without one it is a container like any other."""
    unit = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if unit.get("LoadState") != "loaded":
        return {**holder, "kind": "compose" if holder["project"] else "container"}
    # a unit that is about to restart its container runs
    running = holder["running"] or unit.get("ActiveState") in ("active", "activating", "reloading")
    return {**holder, "running": running, "enabled": unit.get("UnitFileState") == "enabled"}


def noted(note: t.Mapping[str, t.Any]) -> list[Holder]:
    """The holders that a note names, without what cannot be one."""
    holders = note.get("holders")
    return [
        holder
        for holder in (holders if isinstance(holders, list) else [])
        if isinstance(holder, dict) and all(isinstance(holder.get(name), kind) for name, kind in _NOTE.items())
    ]


def served_beside(note: t.Mapping[str, t.Any]) -> str | None:
    """The release of the service itself that served while the holders did; None if none did."""
    release = note.get("beside")
    return release if isinstance(release, str) and release else None


def merged(before: t.Iterable[Holder], holders: t.Iterable[Holder]) -> list[Holder]:
    """Who is to be started again: what a run noted that was interrupted, and HOLDERS.

    Who was noted already stays as he was then; he may be half stopped by now.
    """
    found = {_key(holder): holder for holder in before}
    for holder in holders:
        then = found.get(_key(holder), holder)
        found[_key(holder)] = {**then, "id": holder["id"], "renamed": holder["renamed"] or then["renamed"]}
    return list(found.values())


def _key(holder: Holder) -> str:
    """A service gets a new container now and then."""
    return f"{holder['service']}.service" if holder["kind"] == "service" else str(holder["id"])


def description(holder: Holder) -> str:
    """What an operator calls it."""
    if holder["kind"] == "service":
        return f"the service {holder['service']} (container {holder['name']})"
    if holder["kind"] == "compose":
        return f"the container {holder['name']} of the Compose project {holder['project']}"
    return f"the container {holder['name']} (started by hand)"
