# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which paths of a host may be a folder of the collection, or be mounted into a container. Pure: by their text."""

from __future__ import annotations

import re
import typing as t

EXAMPLE = "/srv/data"

_ABSOLUTE = re.compile(r"(/[A-Za-z0-9._@+-]+)+/?")
# Of these nobody may take the folder itself; a folder of one's own below it is fine.
_SHARED_FOLDERS = re.compile(
    r"/?|/(home|media|mnt|opt|root|srv|usr/local|var|var/(cache|lib|log|opt|spool))|/home/[^/]+"
)
# Of these nothing that lies below either: the system's own, or gone with the next boot. /run/media has disks.
_SYSTEM_FOLDERS = re.compile(
    r"/(bin|boot|dev|etc|lib|lib32|lib64|libx32|nix|proc|run(?!/media/.)|sbin|snap|sys|tmp|usr(?!/local/.)"
    r"|usr/local/(bin|etc|include|lib|libexec|sbin)|var/(cache/apt|lock|run|tmp"
    r"|lib/(apt|containerd|docker|dpkg|kubelet|NetworkManager|polkit-1|snapd|systemd)))(/.*)?"
)
# What a container gets may be read by whoever talks the model, or a fault of vLLM, into it.
_STATE = r"var/(backups|log|mail|spool)|var/lib/(dgxspark|private|sudo)"
_ROOTS = re.compile(rf"/(root|{_STATE})(/.*)?")
_NO_CACHE = re.compile(rf"/({_STATE}|opt/nvidia)(/.*)?")
_KEYS = {".aws", ".azure", ".docker", ".gnupg", ".kube", ".password-store", ".ssh"}
# What it may write may be run by root: programs, and the state of the system's own.
_NOT_WRITABLE = re.compile(r"/(opt/nvidia|usr|var)(/.*)?")


def wrong_folder(value: t.Any, example: str) -> str | None:
    """Why this is no folder for the collection, as the end of a line that begins with the variable and its value."""
    if not str(value).startswith("/"):
        return f"is not allowed; use an absolute path such as {example}"
    path = plain(value)
    if _SHARED_FOLDERS.fullmatch(path) or _SYSTEM_FOLDERS.fullmatch(path):
        return f"is a folder of the system; use one of its own such as {example}"
    if not _ABSOLUTE.fullmatch(value) or {".", ".."} & set(value.split("/")):
        return "is not allowed; use letters, digits and . _ @ + - between the /, and no . or .."
    return None


def wrong_source(value: t.Any, writable: bool = False, example: str = EXAMPLE) -> str | None:
    """Why no container may get this file or folder of the host; the same end of a line."""
    wrong = wrong_folder(value, example)
    if wrong:
        return wrong
    path = plain(value)
    if _ROOTS.fullmatch(path):
        return f"is for root alone, and a container could read it; use a folder such as {example}"
    if _KEYS & set(path.split("/")):
        return f"holds keys, and a container could read them; use a folder such as {example}"
    if writable and _NOT_WRITABLE.fullmatch(path):
        return f"belongs to the system, and a container could write it; use read_only: true, or {example}"
    return None


def wrong_cache(value: t.Any, example: str) -> str | None:
    """Why this is no cache, which containers write: downloads, and some servers; the same end of a line."""
    wrong = wrong_folder(value, example)
    if wrong:
        return wrong
    path = plain(value)
    if _NO_CACHE.fullmatch(path) or _KEYS & set(path.split("/")):
        return f"holds what no container may write; use one of its own such as {example}"
    return None


def lies_in(path: str, folder: str) -> bool:
    """Whether PATH is FOLDER or lies below it."""
    one, other = (re.sub("/+", "/", f"{each}/") for each in (path, folder))
    return one.startswith(other)


def plain(path: str) -> str:
    """Without doubled slashes and one at the end."""
    return re.sub("/+", "/", path).rstrip("/")
