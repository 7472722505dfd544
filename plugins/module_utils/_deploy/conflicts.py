# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a service from its port or from the name of its container, as `docker inspect` describes it."""

from __future__ import annotations

import typing as t

from .._host.port_holder import Holder, description


def conflicts(
    listener: t.Mapping[str, t.Any] | None,
    holders: t.Sequence[Holder],
    port: int,
    container: str,
    take_over: bool,
) -> list[dict[str, str]]:
    """Why the service cannot be started, id and text each; empty if nothing, or only what can be taken over, is there.

    LISTENER is what listens on PORT (_host.spark.find_listener), unless that is the service itself. HOLDERS are the
    containers that have the port or the name.
    """
    strangers = [holder for holder in holders if not holder["is_vllm"]]
    servers = [holder for holder in holders if holder["is_vllm"]]
    lost = [holder for holder in servers if holder["running"] and holder["auto_remove"]]
    found = []
    if listener and (not listener["container"] or listener["container"] in [holder["name"] for holder in strangers]):
        who = listener["container"] or listener["process"] or "an unknown process"
        text = (
            f"Port {port} is held by {who} (pid {listener['pid'] or 'unknown'}), which is not a vLLM server in a"
            " container. Stop it, or set vllm_port to a free port"
        )
        found.append({"id": "port_in_use", "text": text})
    for holder in strangers:
        if holder["name"] == container:
            text = (
                f"A container named {container} exists, and it does not run vLLM ({holder['image']}). Remove it (docker"
                f" rm -f {container}), or set vllm_container_name to another name"
            )
            found.append({"id": "name_in_use", "text": text})
    for holder in lost:
        text = (
            f"{description(holder)} is in the way, and Docker removes it when it stops (--rm): it could not be"
            f" started again if the new release fails. Stop it (docker stop {holder['name']}), or set vllm_port and"
            " vllm_container_name to other values"
        )
        found.append({"id": "auto_removed", "text": _sentence(text)})
    kept = [holder for holder in servers if holder not in lost]  # a take-over would not help the others
    if kept and not take_over:
        names = " and ".join(map(description, kept))
        text = (
            f"{names} {'is' if len(kept) == 1 else 'are'} in the way, and vllm_take_over is false. Stop"
            f" {'it' if len(kept) == 1 else 'them'}, set vllm_port and vllm_container_name to other values, or set"
            " vllm_take_over: true"
        )
        found.append({"id": "take_over_disabled", "text": _sentence(text)})
    return found


def _sentence(text: str) -> str:
    """Several of them are shown one after the other."""
    return text[:1].upper() + text[1:]
