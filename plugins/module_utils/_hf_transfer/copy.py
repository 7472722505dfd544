# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a snapshot that was exported into a cache, so that at no moment a half of it looks whole.

Each blob is written to .dgxspark/incoming/ETAG.incomplete, under the lock that a client takes for it, hashed, and then
moved to blobs/ETAG. The list of the files comes after the blobs, the links after the list, the ref last.

rsync writes by name and follows links. Its folder is closed to others (mode 0700), and is its working directory, which
was opened without a link on the way: whatever happens to folders of the cache meanwhile, nothing is written elsewhere.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import time
import typing as t
import uuid

from .._hf_cache import beneath
from .._hf_cache import verify as hf_verify
from .._hf_cache.content import lstat
from .._hf_cache.files import creation_mask, made_folder, make_file, private_folder, write_text
from .._hf_cache.layout import INCOMING, CacheError, check_models, check_path, shown
from . import model_files
from .export import Export
from .set_aside import Own, is_own, set_aside

# A stream of SSH keeps one core busy.
STREAMS = 4
# So long may somebody else hold the lock of a blob without a byte more of it on the disk.
PATIENCE = 900

# Command line and working directory in; exit code, output and errors out.
Run = t.Callable[[list[str], str], tuple[int, str, str]]


class CopyError(Exception):
    """Why the copy failed; the message is for the user, the id for programs."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


# Key pairs of copies, in memory.
KEYS = "/run/dgxspark-copy"


def is_key_folder(folder: str) -> bool:
    return os.path.dirname(os.path.normpath(folder)) == KEYS


def remove_key(folder: str | None) -> None:
    """The key pair, which is of no use any more; nothing else."""
    if folder and is_key_folder(folder):
        shutil.rmtree(folder, ignore_errors=True)


def check(path: str, model: str, revision: str) -> None:
    """Refuses what becomes a part of a path and must not."""
    check_path(path)
    check_models([model], "model")
    wrong = model_files.check_revision(revision)
    if wrong:
        raise CacheError(wrong)


def look_up(path: str, model: str, revision: str) -> dict[str, t.Any]:
    """What hf_cache_copy_info returns."""
    found = model_files.look_up(path, model, revision)
    missing = [] if found.complete else found.missing + found.damaged or ["the snapshot"]
    return {"complete": found.complete, "commit": found.commit, "snapshot": found.path, "missing": missing}


class Received(t.NamedTuple):
    blobs: int
    content: int  # bytes of files that came over
    total: int  # bytes that came over, with what rsync says beside


def present(root: str, folder: str, exported: Export) -> dict[str, int]:
    """Blobs that are there in their full size."""
    found = {}
    for etag, blob in exported.blobs.items():
        file = beneath.regular(root, os.path.join(folder, "blobs", etag))
        if file and file[0].st_size == blob.size:
            found[etag] = blob.size
    return found


class Copy:
    def __init__(self, root: str, model: str, exported: Export, run: Run, rsync: list[str], source: str) -> None:
        """`source` is what rsync puts before the path of a file; `rsync` the command with its options."""
        self.root = root
        self.folder = model_files.repository(root, model)
        self.exported, self.run_command, self.rsync, self.source = exported, run, rsync, source
        self.mask = creation_mask(root)
        self.set_aside: list[Own] = []
        self.blobs = self.incoming = -1  # descriptors, while it runs
        self.locks = os.path.join(root, ".locks", os.path.basename(self.folder))

    def run(self, ref: str) -> Received:
        os.umask(self.mask)
        self._make_folders()
        with self._opened() as (self.blobs, self.incoming):
            received = self._blobs()
        self._remove_incoming()
        for name, text in self.exported.lists.items():
            write_text(self.root, os.path.join(self.folder, name), text)
        listed = f".dgxspark/{self.exported.commit}.json"
        if listed not in self.exported.lists:
            known = {name: model_files.File(self.exported.blobs[etag].size, etag) for name, etag in self._files()}
            model_files.record(self.folder, self.exported.commit, known)
        for name, etag in self._files():
            self._link(name, etag)
        if ref != self.exported.commit:
            write_text(self.root, os.path.join(self.folder, "refs", ref), self.exported.commit)
        return received

    def _files(self) -> list[tuple[str, str]]:
        return sorted(self.exported.files.items())

    def _make_folders(self) -> None:
        """Those of the blobs. What else is there must not lead out of the cache: better said now than at the end."""
        later = ("refs", "trees", ".dgxspark", "snapshots", f"snapshots/{self.exported.commit}")
        there = [path for name in later if os.path.lexists(path := os.path.join(self.folder, name))]
        for folder in (os.path.join(self.folder, "blobs"), self.locks, *there):
            with made_folder(self.root, folder):
                pass

    @contextlib.contextmanager
    def _opened(self) -> t.Iterator[tuple[int, int]]:
        """Descriptors of the folder for the blobs, and of that for rsync."""
        blobs, incoming = (os.path.join(self.folder, name) for name in ("blobs", INCOMING))
        with beneath.open_folder(self.root, blobs) as opened, private_folder(self.root, incoming) as private:
            yield opened, private

    def _remove_incoming(self) -> None:
        """The folder for rsync, which is empty now."""
        beside, name = os.path.split(os.path.join(self.folder, INCOMING))
        # another copy may have put something in
        with beneath.open_folder(self.root, beside) as descriptor, contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=descriptor)

    # --- blobs -------------------------------------------------------------------------------------------------------

    def _blobs(self) -> Received:
        """All that are not there, the largest first, several at a time: one is hashed while others come over."""
        wanted = sorted(self.exported.blobs, key=lambda etag: -self.exported.blobs[etag].size)
        done = []
        with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
            tasks = [pool.submit(self._blob, etag) for etag in wanted]
            try:
                done = [task.result() for task in concurrent.futures.as_completed(tasks)]
            finally:
                for task in tasks:
                    task.cancel()
        return Received(sum(r.blobs for r in done), sum(r.content for r in done), sum(r.total for r in done))

    def _blob(self, etag: str) -> Received:
        with self._lock(etag):
            if self._holds(os.path.join(self.folder, "blobs", etag), etag):
                return Received(0, 0, 0)
            self._take_partial(etag)
            if self._finish(etag):  # it broke off before it had its name
                return Received(1, 0, 0)
            content = total = 0
            for _attempt in range(2):
                more = self._rsync(etag)
                content, total = content + more.content, total + more.total
                if self._finish(etag):
                    return Received(1, content, total)
                # what was there before is not the beginning of this file
                self._remove_partial(etag)
            name = next(name for name, known in self._files() if known == etag)
            raise CopyError(
                "wrong_content",
                f"{shown(name)} did not arrive as it should be: the source has another content than its name says",
            )

    def _take_partial(self, etag: str) -> None:
        """What a client has of it, unless an earlier copy left something. Nobody else can write to it from here on."""
        name = f"{etag}.incomplete"
        with contextlib.suppress(OSError):  # there is none
            if name in os.listdir(self.incoming):
                os.unlink(name, dir_fd=self.blobs)
            else:
                os.rename(name, name, src_dir_fd=self.blobs, dst_dir_fd=self.incoming)
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=self.incoming, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # another name of it may be out of the cache
                self._remove_partial(etag)

    def _remove_partial(self, etag: str) -> None:
        name = f"{etag}.incomplete"
        try:
            os.unlink(name, dir_fd=self.incoming)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise OSError(errno.EISDIR, "is a folder; remove it", os.path.join(self.folder, INCOMING, name)) from None

    def _finish(self, etag: str) -> bool:
        """Give it its name if it is right, and when the disk has it: a power cut must not leave the name alone."""
        name = f"{etag}.incomplete"
        try:
            descriptor = beneath.open_at(self.incoming, name)
        except FileNotFoundError:
            return False
        try:
            if not self._is_right(descriptor, etag):
                return False
            os.fchmod(descriptor, 0o666 & ~self.mask)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._keep_own(next(name for name, known in self._files() if known == etag), f"blobs/{etag}", linked=True)
        os.replace(name, etag, src_dir_fd=self.incoming, dst_dir_fd=self.blobs)
        return True

    def _keep_own(self, name: str, place: str, linked: bool) -> None:
        """Move aside what is in the place of a file of the model, if it may be somebody's work."""
        path, size = os.path.join(self.folder, place), self.exported.blobs[self.exported.files[name]].size
        found = lstat(path)
        if found and stat.S_ISREG(found.st_mode) and is_own(self.root, name, path, size, linked):
            own = Own.of(self.folder, name)
            if set_aside(self.root, path, found, own):
                self.set_aside.append(own)

    def _holds(self, path: str, etag: str) -> bool:
        try:
            with beneath.open_file(self.root, path) as descriptor:
                return self._is_right(descriptor, etag)
        except OSError:
            return False

    def _is_right(self, descriptor: int, etag: str) -> bool:
        if os.fstat(descriptor).st_size != self.exported.blobs[etag].size:
            return False
        return hf_verify.digest(descriptor, etag, bytearray(hf_verify.BUFFER))[0] == etag

    def _rsync(self, etag: str) -> Received:
        partial = f"{etag}.incomplete"
        with contextlib.suppress(FileNotFoundError):  # rsync leaves alone what is as long, right or wrong
            if os.stat(partial, dir_fd=self.incoming).st_size >= self.exported.blobs[etag].size:
                self._remove_partial(etag)
        source = self.source + self.exported.blobs[etag].path
        # --append-verify goes on at the end of the partial, and compares the checksum of all of it
        argv = [*self.rsync, "--append-verify", "--stats", "--no-human-readable", source, partial]
        rc, out, err = self.run_command(argv, f"/proc/self/fd/{self.incoming}")
        if rc:
            raise CopyError(*explain(rc, err))
        return parse_stats(out)

    @contextlib.contextmanager
    def _lock(self, etag: str) -> t.Iterator[None]:
        """The lock that a client takes while it downloads the blob."""
        path = os.path.join(self.locks, f"{etag}.lock")
        moved, size = time.monotonic(), -1
        while True:
            with beneath.open_folder(self.root, self.locks) as folder:
                descriptor = make_file(folder, os.path.basename(path), 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    break
            except BlockingIOError:
                now = model_files.blob_bytes(self.folder, {"": model_files.File(self.exported.blobs[etag].size, etag)})
                if now != size:
                    moved, size = time.monotonic(), now
                if time.monotonic() - moved > PATIENCE:
                    os.close(descriptor)
                    problem = f"somebody holds {shown(path)}, and nothing comes; end that download"
                    raise CopyError("blob_locked", problem) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            time.sleep(0.5)
        try:
            yield
        finally:
            os.close(descriptor)

    # --- what makes blobs a snapshot ---------------------------------------------------------------------------------

    def _link(self, name: str, etag: str) -> None:
        path = os.path.join(self.folder, "snapshots", self.exported.commit, name)
        parent = os.path.dirname(path)
        target = os.path.relpath(os.path.join(self.folder, "blobs", etag), parent)
        with made_folder(self.root, self.folder) as folder, made_folder(self.root, parent) as snapshot:
            if os.path.islink(path) and os.readlink(path) == target:
                return
            if not self._holds(path, etag):
                self._keep_own(name, os.path.relpath(path, self.folder), linked=False)
            temporary = f"tmp_{uuid.uuid4()}"  # a scratch file of a client is called so
            os.symlink(target, temporary, dir_fd=folder)
            os.replace(temporary, os.path.basename(path), src_dir_fd=folder, dst_dir_fd=snapshot)


_STATS = tuple(
    re.compile(rf"^{words}: (\d{{1,18}})\b", re.M | re.ASCII) for words in ("Literal data", "Total bytes received")
)


def parse_stats(output: str) -> Received:
    """What rsync counted: content that was not there, and everything that came over."""
    found = [pattern.search(output) for pattern in _STATS]
    return Received(1, *(int(match[1]) if match else 0 for match in found))


_CAUSES = (
    (r"Connection refused|timed out|No route to host|Network is unreachable", "cannot be reached"),
    (r"Could not resolve", "has a name that this host cannot resolve"),
    (r"Host key verification failed|HOST IDENTIFICATION HAS CHANGED", "is answered by another machine than the source"),
    (r"Permission denied \(", "did not let this host in"),
    (r"Connection closed|Broken pipe|connection unexpectedly closed|timeout in data|error in socket IO", "broke off"),
)


def explain(code: int, errors: str) -> tuple[str, str]:
    """Why rsync failed: the id of the cause, and the words of the last line that says something."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if "No space left on device" in errors:
        return "no_space", "the disk is full"
    seen = next((line for line in lines if not line.startswith("rsync error:")), lines[-1] if lines else f"code {code}")
    for pattern, meaning in _CAUSES:
        if re.search(pattern, errors):
            return "source_address", f"the address of the source {meaning}: {shown(seen)}"
    return "rsync_failed", f"rsync failed with code {code}: {shown(seen)}"
