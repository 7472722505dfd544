# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository holds, what is broken in it, and what its snapshot lacks."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from . import beneath
from .completeness import completeness, listed_files, recorded_files
from .content import Asked, Broken, Content
from .layout import BLOB, COMMIT, INCOMING, PROBE, REF_PROBE, TREE_PROBE, Look, Repository
from .partials import partials_of
from .scan_pass import Pass

# So many blobs are held in memory at once; a repository with more is gone through several times.
AT_ONCE = 20_000


def scan_repository(repository: Repository, asked: Asked, look: Look) -> Content:
    content = Content(repository.path, repository)
    entries = look.sorted(os.path.join(repository.path, "snapshots"))
    content.revisions = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    _read_refs(content, look)
    _choose(content, asked.revisions.get(repository.repo_id))
    judge = content.complete is True
    recorded = recorded_files(repository, content.commit) if judge else {}
    listed = {**recorded, **listed_files(repository, content.commit)} if judge else {}
    sizes = {name: file.size for name, file in listed.items()}
    blobs = 0
    for entry in look.entries(os.path.join(repository.path, "blobs")):
        if BLOB.fullmatch(entry.name):
            blobs += 1
        elif PROBE.fullmatch(entry.name):
            content.probe(entry)
        else:
            content.partials += partials_of(repository, entry)
    for entry in look.entries(os.path.join(repository.path, INCOMING)):
        content.partials += partials_of(repository, entry)
    content.partials.sort(key=lambda partial: partial.path)
    parts = 1 + blobs // AT_ONCE
    weights = False
    for part in range(parts):
        weights |= Pass(repository, content, asked, look, sizes, part, parts).run()
    _probes(content, look)
    if asked.owner is not None:
        _wrong_owner(content, asked.owner, look)
    if judge:
        completeness(content, listed, weights, recorded)
    return content


def _read_refs(content: Content, look: Look) -> None:
    top = os.path.join(content.path, "refs")
    for entry in look.files(top):
        with contextlib.suppress(OSError, ValueError):
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or REF_PROBE.fullmatch(entry.name):
                continue
            commit = beneath.read_text(content.root, entry.path, beneath.REF_MAX).strip()[:64]
            name = os.path.relpath(entry.path, top)
            content.refs[name] = commit
            if not COMMIT.fullmatch(commit):
                content.broken.append(Broken("refs", entry.path, "empty" if not commit else "not a commit", found))
            elif commit not in content.revisions:
                content.broken.append(Broken("refs", entry.path, f"there is no snapshot of {commit}", found))
    content.refs = dict(sorted(content.refs.items()))


def _choose(content: Content, wanted: str | None) -> None:
    """Which snapshot should be whole: the wanted one, that of main, or the only one."""
    revisions, refs = content.revisions, content.refs
    commit = refs.get("main", revisions[0] if len(revisions) == 1 else None)
    if wanted is not None:
        commit = refs.get(wanted, wanted)
    content.commit = commit
    content.complete = True
    if content.repository is None or content.repository.type != "model" or (commit is None and revisions):
        content.complete = None  # nothing says which files, or which of the revisions, should be whole
    elif commit is None:
        content.lacks("snapshots")
    elif not COMMIT.fullmatch(commit):
        content.lacks(f"refs/{wanted or 'main'} (not a commit)")
    elif commit not in revisions:
        content.lacks(f"snapshots/{commit}")


def _probes(content: Content, look: Look) -> None:
    where = (
        (content.path, PROBE),
        (os.path.join(content.path, "trees"), TREE_PROBE),
    )
    found = [entry for folder, names in where for entry in look.entries(folder) if names.fullmatch(entry.name)]
    found += [e for e in look.files(os.path.join(content.path, "refs")) if REF_PROBE.fullmatch(e.name)]
    for entry in found:
        content.probe(entry)


def _wrong_owner(content: Content, owner: int, look: Look) -> None:
    count = 0
    first: tuple[str, os.stat_result] | None = None
    for folder in (content.path, content.repository.locks_folder if content.repository else None):
        for entry in look.files(folder) if folder else ():
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if found.st_uid != owner:
                    count += 1
                    first = first or (entry.path, found)
    if first:
        path, status = first
        files = "1 file belongs" if count == 1 else f"{count} files belong"
        reason = f"{files} to somebody else than uid {owner}; this one to uid {status.st_uid}"
        content.broken.append(Broken("wrong_owner", path, reason, status))


def links_to(repository: Repository, etags: t.Container[str], look: Look) -> t.Iterator[tuple[str, str, str]]:
    """Links in snapshots whose blob is one of these: path, name in the snapshot, name of the blob."""
    for entry in look.files(os.path.join(repository.path, "snapshots")):
        with contextlib.suppress(OSError):
            if entry.is_symlink():
                folder, _slash, etag = os.readlink(entry.path).rpartition("/")
                if etag in etags and folder.endswith("/blobs"):
                    top = os.path.join(repository.path, "snapshots")
                    yield entry.path, os.path.relpath(entry.path, top).partition("/")[2], etag
