# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What precedes a download: dead partials and damaged files are removed, and free space is checked."""

from __future__ import annotations

import contextlib
import os
import stat

from .._hf_cache import files as hf_files
from .._hf_cache import layout
from .._hf_cache import locks as hf_locks
from .._hf_cache import partials as hf_partials
from .._host.spark import filesystem_space
from . import model_files
from .download_causes import Failed, no_space_cause
from .download_task import DownloadTask


def check_space(task: DownloadTask, needed: int, freed: int) -> None:
    free, keep = filesystem_space(task.path)["free_bytes"] + freed, task.options["keep_free"]
    if needed and needed + keep > free:
        raise Failed(no_space_cause(task.path, needed, free, keep))


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

    def damaged(self, snapshot: model_files.Snapshot, names: list[str]) -> list[list[str]]:
        """The chain of links and files to remove for each name: a client accepts existing files as they are."""
        inside = os.path.realpath(self.task.path) + os.sep
        chains = []
        for name in names:
            path, chain = os.path.join(os.path.realpath(str(snapshot.path)), name), list[str]()
            for _hop in range(3):  # snapshot -> blobs -> a store that repositories share
                folder = os.path.realpath(os.path.dirname(path))
                if not f"{folder}{os.sep}".startswith(inside) or not os.path.lexists(path):
                    break
                chain.append(os.path.join(folder, os.path.basename(path)))
                if not os.path.islink(path):
                    break
                path = os.path.join(folder, os.readlink(path))
            chains.append(chain)
        return [chain for chain in chains if chain]

    def remove_damaged(self, chains: list[list[str]]) -> None:
        """Under the locks: a file that another process is about to replace stays."""
        task = self.task
        root, check = os.path.realpath(task.path), task.check_mode
        mine = layout.Repository(task.model, "model", task.folder, task.path, layout.tree_roots(task.path))
        candidates = []
        for chain in chains:
            locks = [os.path.join(mine.locks_folder, f"{os.path.basename(path)}.lock") for path in chain[1:]]
            locks += [f"{path}.lock" for path in chain[2:]]
            candidates.append(hf_locks.Candidate(chain[0], os.lstat(chain[0]), mine.vllm_locks + locks))
        with hf_locks.judged(candidates, task.path, exclusive=not check):
            for candidate, chain in zip(candidates, chains):
                if candidate.live:
                    task.module.warn(f"{candidate.path} is damaged and stays: {candidate.reason}")
                    continue
                for path in reversed(chain):  # the link last: without it the rest could not be found again
                    with contextlib.suppress(FileNotFoundError):  # already removed under another name
                        found = os.lstat(path)
                        hf_files.remove(root, path, found, check)
                        if not stat.S_ISLNK(found.st_mode) and path not in task.result["removed"]:
                            task.result["removed"].append(path)

    def needed(self, sizes: dict[str, int], kept: dict[str, int], gone: set[str]) -> int:
        """Bytes to download: blobs that are absent, or that are removed with what they link to."""
        blobs = os.path.join(os.path.realpath(self.task.folder), "blobs")
        there = {etag for etag in sizes if os.path.exists(path := os.path.join(blobs, etag)) and path not in gone}
        return sum(size - kept.get(etag, 0) for etag, size in sizes.items() if etag not in there)
