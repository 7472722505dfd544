# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a cache are hashed, and what follows when one has the wrong content."""

from __future__ import annotations

import itertools
import os
import stat
import typing as t

from . import beneath
from . import verify as hf_verify
from .content import HARMLESS, Broken, Content, lstat
from .layout import BLOB, Look
from .local_dirs import leaves, local_files
from .snapshot import links_to

_LARGE = 8 << 20


def hash_jobs(contents: t.Iterable[Content], look: Look, sparse_only: bool = False) -> t.Iterator[hf_verify.Job]:
    """Everything whose name, or whose client's note, says what its hash should be.

    The large ones go first, the largest at the very first, so that all threads end at about the same time.
    """
    for content in contents:
        suspects = {broken.path for broken in content.broken if broken.state == "sparse"}
        large = sorted((job for job in _hashed(content, look) if job[0] >= _LARGE), reverse=True)
        small = (job for job in _hashed(content, look) if job[0] < _LARGE)
        for _size, path, etag in itertools.chain(large, small):
            if not sparse_only or path in suspects:
                yield hf_verify.Job(content.root, path, etag, content)


def _hashed(content: Content, look: Look) -> t.Iterator[tuple[int, str, str]]:
    if content.repository:
        for entry in look.entries(os.path.join(content.path, "blobs")):
            found = beneath.regular(content.root, entry.path) if BLOB.fullmatch(entry.name) else None
            if found:
                yield found[0].st_size, entry.path, entry.name
    else:
        for name, etag in local_files(content.path, look):
            path = os.path.join(content.path, name)
            status = lstat(path)
            if status and stat.S_ISREG(status.st_mode) and BLOB.fullmatch(etag) and not leaves(content.path, name):
                yield status.st_size, path, etag


def verify(contents: list[Content], look: Look, sparse_only: bool = False) -> dict[str, int]:
    """Hash the files and note in the contents which of them are corrupt. What has holes and the right hash is fine."""
    files = size = 0
    bad = {each.path for content in contents for each in content.broken if each.state not in HARMLESS}
    suspects = {each.path for content in contents for each in content.broken if each.state == "sparse"}
    proven: set[str] = set()
    for result in hf_verify.hash_all(hash_jobs(contents, look, sparse_only)):
        content: Content = result.job.owner
        files, size = files + 1, size + result.size
        path, etag = result.job.path, result.job.etag
        if result.matches is None:
            if os.path.lexists(path):  # else it vanished meanwhile
                look.skipped[path] = result.reason
            continue
        if path in suspects:
            proven.add(path)
        # What is known to be bad by its size or header stays under that name.
        if not result.matches and path not in bad:
            _note_corrupt(content, path, etag, look)
    for content in contents:
        content.broken = [each for each in content.broken if each.state != "sparse" or each.path not in proven]
    return {"files": files, "bytes": size}


def _note_corrupt(content: Content, path: str, etag: str, look: Look) -> None:
    reason = "its content is not what its name says"
    if content.repository is None:
        name: str | None = os.path.relpath(path, content.path)
        reason = "its content is not what the hub announced"
    else:
        links = list(links_to(content.repository, {etag}, look))
        inside = os.path.join(content.path, "snapshots", content.commit or "-") + os.sep
        used = [name for link, name, _etag in links if link.startswith(inside)]
        name = used[0] if used else next((name for _link, name, _etag in links), None)
        if not used:
            content.broken.append(Broken("corrupt", path, reason, lstat(path), name, etag))
            return
    content.broken.append(Broken("corrupt", path, reason, lstat(path), name, etag))
    if content.complete is not None:
        content.lacks(f"{name} ({reason})")
