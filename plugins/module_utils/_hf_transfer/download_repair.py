# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What precedes a download: dead partials and damaged files are removed, and free space is checked."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from .._hf_cache import beneath, layout
from .._hf_cache import files as hf_files
from .._hf_cache import locks as hf_locks
from .._hf_cache import partials as hf_partials
from .._host.spark import filesystem_space
from . import model_files
from .download_causes import Failed, no_space_cause
from .download_task import DownloadTask
from .set_aside import Own, is_own, set_aside


def check_space(task: DownloadTask, needed: int, freed: int) -> None:
    free, keep = filesystem_space(task.path)["free_bytes"] + freed, task.options["keep_free"]
    if needed and needed + keep > free:
        raise Failed(no_space_cause(task.path, needed, free, keep))


class Damage(t.NamedTuple):
    """A file of the snapshot that is not as it should be."""

    name: str
    chain: list[str]  # the link in the snapshot, and what it leads to
    own: bool  # it may be somebody's work, and is kept

    @property
    def freed(self) -> int:
        return 0 if self.own else sum(hf_files.freed_by(os.lstat(path)) for path in self.chain)


class Repair:
    def __init__(self, task: DownloadTask) -> None:
        self.task = task

    def clear_partials(self, sizes: dict[str, int], resume: bool) -> tuple[dict[str, int], int]:
        """Remove dead partials except those that can be resumed. Returns their bytes by blob, and the bytes freed."""
        task = self.task

        def can_be_resumed(partial: hf_partials.Partial) -> bool:
            mine = os.path.basename(os.path.dirname(partial.path)) == "blobs"  # else hf_cache_copy left it
            return resume and mine and model_files.can_be_resumed(partial.path, partial.stat, sizes)

        cleared = hf_partials.clear(task.path, task.model, can_be_resumed, task.check_mode)
        task.result["removed"] += cleared.removed
        for problem in cleared.problems:
            task.module.warn(problem)
        return cleared.kept, cleared.freed if task.check_mode else 0

    def damaged(self, snapshot: model_files.Snapshot, names: list[str], files: model_files.Files) -> list[Damage]:
        """What has to make room for the hub's files: a client accepts existing files as they are."""
        task, found = self.task, []
        for name in names:
            path, chain = os.path.join(str(snapshot.path), name), list[str]()
            for _hop in range(3):  # snapshot -> blobs -> a store that repositories share
                if not path.startswith(f"{task.path}{os.sep}") or not os.path.lexists(path):
                    break
                chain.append(path)
                if not os.path.islink(path):
                    break
                path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
            if chain:
                own = is_own(task.path, name, chain[-1], files[name].size, linked=len(chain) > 1)
                found.append(Damage(name, chain, own))
        return found

    def remove_damaged(self, damaged: list[Damage]) -> None:
        """Under the locks: a file that another process is about to replace stays."""
        task = self.task
        check = task.check_mode
        mine = layout.Repository(task.model, "model", task.folder, task.path, layout.tree_roots(task.cache))
        candidates = []
        for damage in damaged:
            chain = damage.chain
            locks = [os.path.join(mine.locks_folder, f"{os.path.basename(path)}.lock") for path in chain[1:]]
            locks += [f"{path}.lock" for path in chain[2:]]
            candidates.append(hf_locks.Candidate(chain[0], os.lstat(chain[0]), mine.vllm_locks + locks))
        with hf_locks.judged(candidates, task.path, exclusive=not check):
            for candidate, damage in zip(candidates, damaged):
                if candidate.live:
                    task.module.warn(f"{candidate.path} is damaged and stays: {candidate.reason}")
                    continue
                for path in reversed(damage.chain):  # the link last: without it the rest could not be found again
                    with contextlib.suppress(FileNotFoundError):  # already removed under another name
                        self._remove(damage, path, os.lstat(path))

    def _remove(self, damage: Damage, path: str, found: os.stat_result) -> None:
        task = self.task
        if damage.own and stat.S_ISREG(found.st_mode):
            own = Own.of(task.folder, damage.name)
            if task.check_mode or set_aside(task.path, path, found, own):
                task.result["set_aside"].append(own._asdict())
            return
        hf_files.remove(task.path, path, found, task.check_mode)
        if not stat.S_ISLNK(found.st_mode) and path not in task.result["removed"]:
            task.result["removed"].append(path)

    def needed(self, sizes: dict[str, int], kept: dict[str, int], gone: set[str]) -> int:
        """Bytes to download: blobs that are absent, or that are removed with what they link to."""
        blobs = os.path.join(self.task.folder, "blobs")
        places = {etag: os.path.join(blobs, etag) for etag in sizes}
        there = {etag for etag, path in places.items() if path not in gone and beneath.regular(self.task.path, path)}
        return sum(size - kept.get(etag, 0) for etag, size in sizes.items() if etag not in there)
