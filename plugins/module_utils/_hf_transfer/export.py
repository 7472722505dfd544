# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a cache belongs to one snapshot, and whether it may be copied: complete, every byte right.

models--ORG--NAME/.dgxspark/verified.json lists the blobs that were hashed, with their size and times. A file that is
written to has a new ctime, so it is hashed again; the model is not read once per host that copies it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t

from .._hf_cache import beneath
from .._hf_cache import verify as hf_verify
from .._hf_cache.files import write_text
from .._hf_cache.layout import BLOB, COMMIT, Look, shown, tree_roots
from . import model_files

_LISTS = ("trees", ".dgxspark")
# So long, in seconds, may others on this host hash models.
PATIENCE = 3600


class ExportError(Exception):
    """Why nothing can be copied from here; the message is for the user."""


class Blob(t.NamedTuple):
    size: int
    path: str  # the file with the content, below the root: a blob, a payload of the store, a plain file


class Export(t.NamedTuple):
    root: str  # the tree that has the model: PATH or PATH/hub
    commit: str
    files: dict[str, str]  # names in the snapshot, and their blobs
    blobs: dict[str, Blob]
    lists: dict[str, str]  # text of the manifests of the client and of hf_download, by path in the repository

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs.values())


def find(path: str, model: str, revision: str) -> Export:
    """The complete snapshot of a revision. Raises ExportError where there is none."""
    looks = {root: model_files.look_up_in(root, model, revision) for root in tree_roots(path)}
    for root, snapshot in looks.items():
        if snapshot.complete:
            return _exported(root, model, str(snapshot.commit), str(snapshot.path))
    if not os.path.isdir(path):
        raise ExportError(f"{shown(path)} does not exist")
    lacks = [gap for snapshot in looks.values() for gap in snapshot.missing + snapshot.damaged]
    what = f"lacks {', '.join(map(shown, lacks[:5]))}" if lacks else "is not there"
    raise ExportError(f"{model} ({revision}) {what} in {shown(path)}")


def _exported(root: str, model: str, commit: str, top: str) -> Export:
    folder = model_files.repository(root, model)
    known = model_files.recorded(folder, commit)
    files: dict[str, str] = {}
    blobs: dict[str, Blob] = {}
    look = Look()
    for entry in look.files(top):
        name = os.path.relpath(entry.path, top)
        if not model_files.is_name(name):
            raise ExportError(f"{shown(entry.path)} has a name that is not UTF-8; rename or remove that file")
        etag = os.path.basename(os.readlink(entry.path)) if entry.is_symlink() else ""
        if not BLOB.fullmatch(etag):  # a disk without links has the file itself, and the list says its hash
            etag = known[name].etag if name in known else ""
        if not BLOB.fullmatch(etag):
            raise ExportError(
                f"{shown(entry.path)} is not a link to a blob, and no list says which hash it should have"
            )
        found = beneath.regular(root, entry.path)
        if found is None:
            raise ExportError(f"{shown(entry.path)} leads out of {shown(root)}, or to no file")
        files[name] = etag
        blobs[etag] = Blob(found[0].st_size, found[1])
    if look.skipped:
        place, reason = next(iter(look.skipped.items()))
        raise ExportError(f"{shown(place)}: {reason}")
    lists = {}
    for name in (f"{kind}/{commit}.json" for kind in _LISTS):
        with contextlib.suppress(OSError, ValueError):
            text = beneath.read_text(root, os.path.join(folder, name), beneath.JSON_MAX)
            text.encode()  # a list that is not UTF-8 is none
            lists[name] = text
    return Export(root, commit, files, blobs, lists)


def parse(told: t.Any) -> Export:
    """What another host says that it exports. It becomes paths here, so nothing is believed. Raises ExportError."""
    try:
        blobs = {str(etag): Blob(int(blob["size"]), str(blob["path"])) for etag, blob in told["blobs"].items()}
        files = {str(name): str(etag) for name, etag in told["files"].items()}
        lists = {str(name): str(text) for name, text in told["lists"].items()}
        exported = Export(str(told["root"]), str(told["commit"]), files, blobs, lists)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ExportError("export: is not what hf_cache_export returns") from None
    known = {f"{kind}/{exported.commit}.json" for kind in _LISTS}
    names = [*files, *(blob.path for blob in blobs.values())]
    good = COMMIT.fullmatch(exported.commit) and set(lists) <= known and set(files.values()) == set(blobs)
    good = good and all(BLOB.fullmatch(etag) and blob.size >= 0 for etag, blob in blobs.items())
    if not good or not all(map(model_files.is_name, names)):
        raise ExportError("export: holds names that are not those of a cache")
    return exported


def describe(exported: Export) -> dict[str, t.Any]:
    return {**exported._asdict(), "blobs": {etag: blob._asdict() for etag, blob in exported.blobs.items()}}


def identity(path: str) -> str | None:
    """The same for the same folder of the same machine, whatever it is called. None where there is no folder."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {found.st_dev} {found.st_ino}"


def verify(exported: Export, folder: str, run: str) -> int:
    """Hash what was not hashed before, or has changed since. Returns the bytes read. Raises ExportError."""
    with _turn(run):
        place = os.path.join(folder, ".dgxspark", "verified.json")
        before = beneath.read_json(exported.root, place)
        before = before if isinstance(before, dict) else {}
        now = {etag: _looks(exported.root, blob.path) for etag, blob in exported.blobs.items()}
        jobs = [
            hf_verify.Job(exported.root, os.path.join(exported.root, blob.path), etag, None)
            for etag, blob in sorted(exported.blobs.items(), key=lambda item: -item[1].size)
            if before.get(etag) != now[etag]
        ]
        read = 0
        bad: list[str] = []
        for result in hf_verify.hash_all(jobs):
            read += result.size
            if not result.matches:
                name = next(name for name, etag in exported.files.items() if etag == result.job.etag)
                bad.append(f"{name} ({result.reason or 'its content is not what its name says'})")
        if bad:
            what = f"{', '.join(map(shown, sorted(bad)))} in {shown(folder)}"
            raise ExportError(f"{what}; remove that with hf_cache_clean, classes: corrupt, and download it again")
        if jobs:
            noted = {**{etag: before[etag] for etag in before if etag not in now}, **now}
            write_text(os.path.dirname(folder), place, json.dumps(noted))
        return read


def _looks(root: str, path: str) -> list[int]:
    with beneath.find(root, os.path.join(root, path)) as entry:
        found = entry.stat
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino]


@contextlib.contextmanager
def _turn(run: str) -> t.Iterator[None]:
    """One at a time: who comes second finds what the first has noted. What is locked is a folder out of the cache:
    others could hold a lock in the cache for as long as they like."""
    os.makedirs(run, mode=0o700, exist_ok=True)
    begin = time.monotonic()
    with beneath.open_folder(run, run) as descriptor:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - begin > PATIENCE:
                    what = f"another run has been verifying a model on this host for more than {PATIENCE} s"
                    raise ExportError(f"{what}; end that run, and try again") from None
            time.sleep(0.2)
        yield
