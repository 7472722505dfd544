# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass over the blobs of a repository and the links of its snapshots."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib

from . import verify
from .content import Asked, Broken, Content, holes_of, lstat
from .layout import BLOB, PAYLOAD, Look, Repository, is_store

# Names whose content is looked at.
_TELLING = (*verify.WEIGHTS, "config.json", ".index.json")


class Pass:
    """One pass over blobs and snapshots, for the share of the names that is `part` of `parts`."""

    def __init__(
        self,
        repository: Repository,
        content: Content,
        asked: Asked,
        look: Look,
        listed: dict[str, int],
        part: int,
        parts: int,
    ) -> None:
        self.content, self.asked, self.look, self.listed = content, asked, look, listed
        self.part, self.parts = part, parts
        self.repository = repository
        self.root = os.path.realpath(repository.root)
        self.blobs = os.path.join(content.path, "blobs")
        self.marked = is_store(os.path.join(repository.root, "blobs"))
        self.flaws: dict[str, verify.Flaw] = {}
        self.reported: set[str] = set()
        self.store_folders: set[str] = set()  # that were found to be real ones
        self.weights = False

    def run(self) -> bool:
        """Whether there are weights in the snapshot that should be whole."""
        sizes = self.run_blobs()
        unreferenced = set(sizes)
        for commit in self.content.revisions:
            top = os.path.join(self.content.path, "snapshots", commit)
            self.snapshot(top, top, "", "../../blobs/", sizes, unreferenced, 64)
        for name in sorted(unreferenced):
            path = os.path.join(self.blobs, name)
            with contextlib.suppress(OSError):
                self.add("unreferenced", path, "no snapshot has it", os.lstat(path), etag=name)
        return self.weights

    def mine(self, name: str) -> bool:
        return self.parts == 1 or zlib.crc32(os.fsencode(name)) % self.parts == self.part

    def add(
        self, state: str, path: str, reason: str, found: os.stat_result | None, file: str = "", etag: str = ""
    ) -> None:
        self.content.broken.append(Broken(state, path, reason, found, file or None, etag or None))

    def run_blobs(self) -> dict[str, int]:
        """Sizes by name. This loop and that of the snapshots are what a large cache waits for."""
        sizes: dict[str, int] = {}
        regular, all_mine = stat.S_ISREG, self.parts == 1
        files = size_of_all = blocks_of_all = 0
        for entry in self.look.entries(self.blobs):
            name = entry.name
            if len(name) not in (40, 64) or not BLOB.fullmatch(name) or not (all_mine or self.mine(name)):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError as error:
                self.look.skip(entry.path, error)
                continue
            if not regular(found.st_mode):
                self.shared_blob(entry, found, sizes)
                continue
            sizes[name] = size = found.st_size
            blocks = found.st_blocks
            if found.st_nlink > 1:
                self.asked.totals.add(found)
                self.content.count(found)
            else:
                files += 1
                size_of_all += size
                blocks_of_all += blocks
            if size == 0 or size - blocks * 512 >= 65536:
                self.suspect(entry, found, found)
        self.asked.totals.bytes += size_of_all
        self.asked.totals.allocated += blocks_of_all * 512
        self.content.files += files
        self.content.bytes += size_of_all
        self.content.allocated += blocks_of_all * 512
        return sizes

    def shared_blob(self, entry: os.DirEntry[str], link: os.stat_result, sizes: dict[str, int]) -> None:
        """A blob that is a link, as a rule into the store that repositories share."""
        if not stat.S_ISLNK(link.st_mode):
            return
        try:
            if not self.stays(entry.path):
                self.add("outside", entry.path, "a link out of the cache", link)
                return
            found = os.stat(entry.path)
        except OSError as error:
            if os.path.lexists(entry.path):
                self.add("dangling_links", entry.path, _dead_link(error), link)
            return
        if not stat.S_ISREG(found.st_mode):
            return
        sizes[entry.name] = found.st_size
        self.content.count(found)
        if not (self.marked and self.asked.totals.counts_store):
            self.asked.totals.add(found, shared=True)
        if found.st_size == 0 or verify.holes(found, self.asked.kind):
            self.suspect(entry, found, link)

    def suspect(self, entry: os.DirEntry[str], found: os.stat_result, removable: os.stat_result) -> None:
        if found.st_size == 0 and entry.name not in verify.EMPTY:
            self.flaws[entry.name] = verify.Flaw("empty", "empty")
        elif verify.holes(found, self.asked.kind):
            self.add("sparse", entry.path, holes_of(found), removable, etag=entry.name)

    def stays(self, link: str) -> bool:
        """Whether a blob that is a link stays in the cache. Nearly all lead straight into the shared store."""
        folder, _slash, name = os.readlink(link).rpartition("/")
        if folder in self.store_folders and PAYLOAD.fullmatch(name):
            return not os.path.islink(os.path.join(self.blobs, folder, name))
        if not os.path.realpath(link).startswith(self.root + os.sep):
            return False
        if folder.startswith("../../blobs/") and os.path.realpath(link).endswith(f"{folder[5:]}/{name}"):
            self.store_folders.add(folder)
        return True

    def snapshot(
        self, top: str, folder: str, prefix: str, up: str, sizes: dict[str, int], unreferenced: set[str], depth: int
    ) -> None:
        chosen = os.path.basename(top) == self.content.commit
        all_mine, readlink, look_at, flaws = self.parts == 1, os.readlink, self.asked.headers, self.flaws
        listed = self.listed if chosen else {}
        at = len(up)
        for entry in self.look.entries(folder):
            name = prefix + entry.name
            if not entry.is_symlink():
                if entry.is_dir(follow_symlinks=False):
                    if depth:
                        self.snapshot(top, entry.path, f"{name}/", f"../{up}", sizes, unreferenced, depth - 1)
                elif self.mine(entry.name):
                    self.plain_file(entry, name, chosen)
                continue
            try:
                target = readlink(entry.path)
            except OSError:
                continue
            etag = target[at:]
            if etag in sizes and target.startswith(up):
                unreferenced.discard(etag)
                telling = name.endswith(_TELLING)
                if chosen and telling:
                    self.weights |= name.endswith(verify.WEIGHTS)
                if etag in flaws or (telling and look_at) or name in listed:
                    self.content_of(name, etag, sizes[etag], chosen)
            elif all_mine or self.mine(target.rpartition("/")[2]):
                self.weights |= chosen and name.endswith(verify.WEIGHTS)
                self.other_link(entry, name, target.rpartition("/")[2], sizes, unreferenced, chosen)

    def other_link(
        self,
        entry: os.DirEntry[str],
        name: str,
        etag: str,
        sizes: dict[str, int],
        unreferenced: set[str],
        chosen: bool,
    ) -> None:
        """A link that does not lead to a blob in the usual way."""
        found = lstat(entry.path)
        real = os.path.realpath(entry.path)
        if not real.startswith(self.root + os.sep):
            self.add("outside", entry.path, "a link out of the cache", found, name)
            self.gap(chosen, f"{name} (link out of the cache)")
            return
        try:
            os.stat(entry.path)
        except OSError as error:
            self.add("dangling_links", entry.path, _dead_link(error), found, name)
            self.gap(chosen, f"{name} (broken link)")
            return
        if etag in sizes and os.path.dirname(real) == os.path.realpath(self.blobs):
            unreferenced.discard(etag)
            self.content_of(name, etag, sizes[etag], chosen)

    def plain_file(self, entry: os.DirEntry[str], name: str, chosen: bool) -> None:
        """Where the client could not make links, the file itself is in the snapshot."""
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            self.look.skip(entry.path, error)
            return
        if not stat.S_ISREG(found.st_mode):
            return
        self.content.count(found)
        self.asked.totals.add(found)
        self.weights |= chosen and name.endswith(verify.WEIGHTS)
        flaw = self.flaw(entry.path, name, found.st_size, chosen)
        if flaw:
            self.add(flaw.state, entry.path, flaw.reason, found, name)
            self.gap(chosen, f"{name} ({flaw.reason})")

    def content_of(self, name: str, etag: str, size: int, chosen: bool) -> None:
        flaw = self.flaws.get(etag)
        path = os.path.join(self.blobs, etag)
        if flaw is None:
            flaw = self.flaw(path, name, size, chosen)
            if flaw is None:
                return
            self.flaws[etag] = flaw
        if etag not in self.reported:
            self.reported.add(etag)
            self.add(flaw.state, path, flaw.reason, lstat(path), name, etag)
        self.gap(chosen, f"{name} ({flaw.reason})")

    def flaw(self, path: str, name: str, size: int, chosen: bool) -> verify.Flaw | None:
        found = None
        if self.asked.headers:
            try:
                found = verify.header_flaw(self.repository.root, path, name, size)
            except OSError as error:
                self.look.skip(path, error)
        # a pointer has a wrong size as well
        if chosen and size != self.listed.get(name, size) and not (found and found.state == "lfs_pointers"):
            return verify.Flaw("truncated", f"{size} bytes instead of {self.listed[name]}")
        return found

    def gap(self, chosen: bool, gap: str) -> None:
        if chosen and self.content.complete is not None:
            self.content.lacks(gap)


def _dead_link(error: OSError) -> str:
    return "a link to nothing" if isinstance(error, FileNotFoundError) else f"a link: {error.strerror}"
