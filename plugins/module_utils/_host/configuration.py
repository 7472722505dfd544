# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host is configured: files, kernel parameters, systemd units.

Nothing raises: what is missing or cannot be read is part of the answer.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
import stat
import typing as t

from .turn import group_of

# Larger files are hashed, but their text is not returned.
MAX_CONTENT_BYTES = 64 * 1024

# Properties for `systemctl show`; Id names the unit, also where an alias was asked for.
UNIT_PROPERTIES = ("Id", "Names", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "ConflictedBy")

_REPOSITORY = re.compile(r"models--([\w.-]+)", re.ASCII)

_TYPES = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))

Facts = dict[str, t.Any]


def read_file(path: str) -> Facts:
    """Type, ownership and mode of a path, without following a link; hash and text of a regular file."""
    facts: Facts = dict.fromkeys(("owner", "group", "uid", "gid", "mode", "sha256", "content"))
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"type": "absent", **facts}
    except (OSError, ValueError):  # not allowed to look; a null byte in the path
        return {"type": "unknown", **facts}
    facts.update(
        uid=status.st_uid,
        gid=status.st_gid,
        owner=_user(status.st_uid),
        group=_group(status.st_gid),
        mode=f"{stat.S_IMODE(status.st_mode):04o}",
    )
    kind = next((name for matches, name in _TYPES if matches(status.st_mode)), "other")
    if kind == "file":
        # A file that only some users may read can hold a secret: results end up in logs.
        facts.update(_text(path, status.st_size, public=bool(status.st_mode & stat.S_IROTH)))
    return {"type": kind, **facts}


def cache_folder(path: str, model: str | None = None) -> str:
    """The folder that holds the models of the Hugging Face cache at PATH: PATH, or hub/ below it.

    Below HF_HOME (by default ~/.cache/huggingface) clients keep them in hub/, beside the token of their owner. Where
    both have some, MODEL decides, the one that is needed. A new model joins the others.
    """
    below = os.path.join(path, "hub")
    mine, others = _models(path), _models(below)
    if not others or (mine if model is None or model not in others else model in mine):
        return path
    return below


def read_cache(path: str, model: str | None = None) -> Facts:
    return {"path": path, "folder": cache_folder(path, model)}


def _models(path: str) -> set[str]:
    """Ids of the models that have a folder there."""
    try:
        with os.scandir(path) as entries:
            found = (_REPOSITORY.fullmatch(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False))
            return {match[1].replace("--", "/") for match in found if match}
    except OSError:
        return set()


def _text(path: str, size: int, public: bool) -> Facts:
    digest = hashlib.sha256()
    kept = b""
    try:
        with open(path, "rb") as file:
            while block := file.read(1024 * 1024):
                digest.update(block)
                if public and size <= MAX_CONTENT_BYTES:
                    kept += block
    except OSError:
        return {}
    content: str | None = None
    if public and size <= MAX_CONTENT_BYTES:
        try:
            content = kept.decode()
        except UnicodeDecodeError:
            content = None
    return {"sha256": digest.hexdigest(), "content": content}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def sysctl_path(name: str, root: str = "/proc/sys") -> str:
    """File of a kernel parameter. As in sysctl(8), the first separator decides what the others mean."""
    first = next((letter for letter in name if letter in "./"), ".")
    if first == ".":
        name = name.translate(str.maketrans("./", "/."))
    return os.path.join(root, os.path.normpath(f"/{name}").lstrip("/"))


def read_sysctl(name: str, root: str = "/proc/sys") -> str | None:
    """Current value of a kernel parameter, None if there is none or it cannot be read."""
    try:
        with open(sysctl_path(name, root), encoding="utf-8", errors="replace") as file:
            return " ".join(file.read().split())
    except (OSError, ValueError):
        return None


def parse_units(text: str, asked: t.Iterable[str]) -> dict[str, Facts]:
    """`systemctl show --property=… UNIT…`: a block of KEY=VALUE lines for each unit, by the names asked for."""
    found: dict[str, Facts] = {}
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name in {values.get("Id", ""), *values.get("Names", "").split()}:
            found[name] = {
                "load_state": values.get("LoadState", ""),
                "active_state": values.get("ActiveState", ""),
                "unit_file_state": values.get("UnitFileState", ""),
                "needs_reload": values.get("NeedDaemonReload", "") != "no",
                "conflicted_by": group_of(values.get("ConflictedBy", "")),
            }
    return {name: found[name] for name in asked if name in found}
