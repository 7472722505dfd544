# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of container holds a port, as `docker inspect` describes it. Pure. Private to the collection."""

from __future__ import annotations

import json
import typing as t

SERVICE = "dgxspark.vllm.service"
PROJECT = "com.docker.compose.project"
PROJECT_SERVICE = "com.docker.compose.service"

Holder = t.Dict[str, t.Any]


def holder_of(inspected: str) -> Holder | None:
    """Who holds the port: `docker inspect --type container NAME`; None if there is no such container.

    kind is service (of this collection), compose or container; restart is Docker's restart policy; renamed is for the
    name that it may get.
    """
    try:
        entry = json.loads(inspected)[0]
    except (ValueError, LookupError, TypeError):
        return None
    config, host = entry.get("Config") or {}, entry.get("HostConfig") or {}
    labels = config.get("Labels") or {}
    words = [str(config.get("Image", "")), str(entry.get("Path", "")), *map(str, entry.get("Args") or [])]
    return {
        "kind": "service" if SERVICE in labels else "compose" if PROJECT in labels else "container",
        "name": str(entry.get("Name", "")).lstrip("/"),
        "renamed": None,
        "running": bool((entry.get("State") or {}).get("Running")),
        "service": labels.get(SERVICE),
        "project": labels.get(PROJECT),
        "image": words[0],
        "restart": (host.get("RestartPolicy") or {}).get("Name") or "no",
        "is_vllm": SERVICE in labels or any("vllm" in word.lower() for word in words),
    }


def description(holder: Holder) -> str:
    """What an operator calls it."""
    if holder["kind"] == "service":
        return f"the service {holder['service']} (container {holder['name']})"
    if holder["kind"] == "compose":
        return f"the container {holder['name']} of the Compose project {holder['project']}"
    return f"the container {holder['name']}, which was started by hand"
