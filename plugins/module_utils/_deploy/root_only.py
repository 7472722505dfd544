# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether nobody but root can change what a path leads to: root runs what lies there."""

from __future__ import annotations

import os
import pwd
import stat
import typing as t

# As many links as the kernel follows.
_MOST_LINKS = 40


def not_root_only(home: str, below: t.Sequence[str] = ()) -> str | None:
    """What is wrong with HOME, a folder above it, or one of BELOW in it; None if only root can write there."""
    for path in [*visited(home), *(os.path.join(home, name) for name in below)]:
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        why = writable_by(status)
        if why:
            return (
                f"vllm_home: {home} is not safe, because root runs what lies there, and {path} {why}. Nothing was"
                f" changed. Set vllm_home to another folder such as /opt/vllm, or let only root write {path}"
            )
    return None


def writable_by(status: os.stat_result) -> str | None:
    """Who but root may change what is in a folder, or where a link leads. To a sticky folder anybody may add."""
    if status.st_uid != 0:
        return f"belongs to {user_name(status.st_uid)}"
    if stat.S_ISLNK(status.st_mode):
        return None
    if status.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    return "can be written by its group" if status.st_mode & stat.S_IWGRP else None


def visited(path: str) -> list[str]:
    """Every folder and link on the way to PATH, and PATH, as the kernel visits them."""
    found, here, links = ["/"], "/", 0
    rest = os.path.abspath(path).split("/")
    while rest:
        part = rest.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, part)
        found.append(there)
        if os.path.islink(there) and links < _MOST_LINKS:
            links += 1
            target = os.readlink(there)
            here = "/" if target.startswith("/") else here
            rest = [*target.split("/"), *rest]
        else:
            here = there
    return found


def led_by_others(path: str) -> bool:
    """Whether someone other than root may decide where PATH leads: by a link, or as who may rename what is above it."""
    *above, _path = visited(path)
    for there in above:
        try:
            if writable_by(os.lstat(there)):
                return True
        except OSError:  # it is not there, and only who may write the folder above can make it
            continue
    return False


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
