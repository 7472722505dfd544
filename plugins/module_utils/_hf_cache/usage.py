# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a model is in the cache by now: vLLM logs nothing during a download."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass


@dataclass
class CachedBytes:
    bytes: int = 0
    newest_partial: float | None = None  # time of the last write to a file that is still incomplete


def cached_bytes(cache_path: str, repo: str) -> CachedBytes:
    """Bytes on disk for a model, finished files and the largest partial of each unfinished one.

    Parallel downloads write into files of full length with holes, so a file counts with the blocks it really has,
    and never with more than its length. A file system that compresses therefore shows less.
    """
    result = CachedBytes()
    largest: dict[str, int] = {}
    folder = "models--" + repo.replace("/", "--")
    for root in (cache_path, os.path.join(cache_path, "hub")):
        for entry in _files(os.path.join(root, folder, "blobs")):
            try:
                status = entry.stat()
            except OSError:  # renamed or removed since the listing
                continue
            size = min(status.st_size, status.st_blocks * 512)
            # "etag", "etag.incomplete" or "etag.1234abcd.incomplete": one file each, whatever was left behind
            etag = entry.name.split(".", 1)[0]
            largest[etag] = max(largest.get(etag, 0), size)
            if entry.name.endswith(".incomplete"):
                result.newest_partial = max(result.newest_partial or 0.0, status.st_mtime)
    result.bytes = sum(largest.values())
    return result


def _files(folder: str) -> t.Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return
