# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incomplete downloads, of every client and into both kinds of folder."""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import time
import typing as t

from . import files as hf_files
from . import locks as hf_locks
from .layout import (
    LOCAL_PARTIAL,
    PARTIAL,
    Look,
    Repository,
    download_folder,
    find_repositories,
    shown,
)
from .locks import Candidate


@dataclasses.dataclass
class Partial(Candidate):
    etag: str = ""
    repo_id: str | None = None

    def describe(self) -> dict[str, t.Any]:
        return {
            "path": shown(self.path),
            "repo_id": self.repo_id and shown(self.repo_id),
            "bytes": self.stat.st_size,
            "allocated_bytes": self.allocated,
            "live": self.live,
            "reason": shown(self.reason),
            "holder_pid": self.holder_pid,
            "holder_command": self.holder_command,
            "age_seconds": max(0, int(time.time() - self.stat.st_mtime)),
        }


def _partial(entry: os.DirEntry[str], pattern: re.Pattern[str]) -> Partial | None:
    match = pattern.fullmatch(entry.name)
    try:
        if match is None or not entry.is_file(follow_symlinks=False):
            return None
        return Partial(entry.path, entry.stat(follow_symlinks=False), [], etag=match["etag"])
    except FileNotFoundError:  # finished meanwhile
        return None


def partials_of(repository: Repository, entry: os.DirEntry[str]) -> list[Partial]:
    """The entry of a folder for partials, if it is one."""
    partial = _partial(entry, PARTIAL)
    if partial is None:
        return []
    partial.repo_id = repository.repo_id
    partial.locks = [*repository.vllm_locks, os.path.join(repository.locks_folder, f"{partial.etag}.lock")]
    return [partial]


def partials_in(path: str, model: str, look: Look) -> list[Partial]:
    """Partials of a model in the tree of PATH itself."""
    return [
        partial
        for repository in find_repositories(path, [model], look)
        if repository.root == path
        for folder in repository.partial_folders
        for entry in look.entries(folder)
        for partial in partials_of(repository, entry)
    ]


@dataclasses.dataclass
class Cleared:
    """What became of the partials of a model."""

    kept: dict[str, int] = dataclasses.field(default_factory=dict)  # bytes that can be resumed, by blob
    freed: int = 0
    removed: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def clear(path: str, model: str, can_be_resumed: t.Callable[[Partial], bool], check_mode: bool) -> Cleared:
    """Remove dead partials of a model before more of them are made, but those that are gone on with."""
    cleared = Cleared()
    partials = partials_in(path, model, Look())
    with hf_locks.judged(partials, path, exclusive=not check_mode):
        for partial in partials:
            if partial.live is not False:
                continue
            if can_be_resumed(partial):
                cleared.kept[partial.etag] = partial.stat.st_size
                continue
            try:
                gone = remove(path, partial, check_mode)
            except OSError as error:
                cleared.problems.append(f"{partial.path} cannot be removed: {error.strerror}")
                continue
            if gone is not None:
                cleared.freed += gone
                cleared.removed.append(partial.path)
    return cleared


def local_locks(folder: str, look: Look) -> list[str]:
    """Locks of a plain folder: one per file, in the same tree as the files."""
    return [entry.path for entry in look.files(download_folder(folder)) if entry.name.endswith(".lock")]


def local_partials(folder: str, look: Look) -> list[Partial]:
    found = [_partial(entry, LOCAL_PARTIAL) for entry in look.files(download_folder(folder))]
    partials = sorted((partial for partial in found if partial), key=lambda partial: partial.path)
    for partial in partials:
        # The partial's name hides which file it belongs to: every lock beside it must be free.
        beside = look.sorted(os.path.dirname(partial.path))
        partial.locks = [entry.path for entry in beside if entry.name.endswith(".lock")]
    return partials


def remove(root: str, partial: Partial, check_mode: bool) -> int | None:
    """Remove a dead partial, under its locks. Returns the bytes freed, None when it is alive or gone after all."""
    if check_mode or any(os.path.lexists(lock) for lock in partial.locks[-1:]):
        return hf_files.remove(root, partial.path, partial.stat, check_mode)
    # There is no lock to hold, so a client can make one at any moment and go on with this file. Under another
    # name nobody finds it any more; whoever opened it before is seen now, and gets it back.
    base = re.sub(r"(\.[0-9a-f]{8})?\.incomplete$", "", os.path.basename(partial.path))
    name = f"{base}.{secrets.token_hex(4)}.incomplete"
    if not hf_files.rename(root, partial.path, name, partial.stat):
        return None
    moved = os.path.join(os.path.dirname(partial.path), name)
    holders, _all_seen = hf_locks.open_files({partial.inode})
    if partial.inode in holders:
        hf_files.rename(root, moved, os.path.basename(partial.path), partial.stat)
        partial.live, partial.reason = True, "a process has it open"
        partial.holder_pid = holders[partial.inode]
        return None
    return hf_files.remove(root, moved, partial.stat, check_mode=False)
