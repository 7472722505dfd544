# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incomplete downloads, of every client and into both kinds of folder. Private to the collection."""

from __future__ import annotations

import dataclasses
import os
import re
import time
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_layout import (
    LOCAL_PARTIAL,
    PARTIAL,
    Look,
    Repository,
    download_folder,
    shown,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_locks import Candidate


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
    """The entry of blobs/, if it is a partial."""
    partial = _partial(entry, PARTIAL)
    if partial is None:
        return []
    partial.repo_id = repository.repo_id
    partial.locks = [*repository.vllm_locks, os.path.join(repository.locks_folder, f"{partial.etag}.lock")]
    return [partial]


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
