# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository holds, what is broken in it, and what its snapshot lacks. Private to the collection."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import stat
import typing as t
import zlib

from . import verify
from .layout import (
    BLOB,
    COMMIT,
    PAYLOAD,
    PROBE,
    REF_PROBE,
    TREE_PROBE,
    Look,
    Repository,
    is_store,
    is_tokenizer,
    shown,
)
from .partials import (
    Partial,
    partials_of,
)

# So many blobs are held in memory at once; a repository with more is gone through several times.
AT_ONCE = 20_000
# These alone keep no model from loading.
HARMLESS = ("sparse", "unreferenced", "probes", "wrong_owner")
# Names whose content is looked at.
_TELLING = (*verify.WEIGHTS, "config.json", ".index.json")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


@dataclasses.dataclass
class Broken:
    """Something that is not as a client leaves it. `path` is what would have to go: the blob, the link or the ref."""

    state: str
    path: str
    reason: str
    stat: os.stat_result | None = None
    file: str | None = None  # its name in the snapshot
    etag: str | None = None

    def describe(self, repo_id: str | None) -> dict[str, t.Any]:
        return {
            "state": self.state,
            "path": shown(self.path),
            "file": self.file and shown(self.file),
            "repo_id": repo_id and shown(repo_id),
            "reason": shown(self.reason),
            "bytes": self.stat.st_size if self.stat else 0,
            "allocated_bytes": self.stat.st_blocks * 512 if self.stat else 0,
        }


class Totals:
    """Bytes of many repositories. What several of them share counts once."""

    def __init__(self, counts_store: bool = False) -> None:
        self.bytes = self.allocated = 0
        self.counts_store = counts_store  # the shared store is counted as a whole, by itself
        self._seen: set[tuple[int, int]] = set()

    def add(self, found: os.stat_result, shared: bool = False) -> None:
        if shared or found.st_nlink > 1:
            inode = found.st_dev, found.st_ino
            if inode in self._seen:
                return
            self._seen.add(inode)
        self.bytes += found.st_size
        self.allocated += found.st_blocks * 512


@dataclasses.dataclass
class Asked:
    """What a scan is to look for beside the layout itself."""

    headers: bool = True
    owner: int | None = None
    kind: str = ""  # of the file system
    revisions: dict[str, str] = dataclasses.field(default_factory=dict)  # wanted commit or ref, by model
    totals: Totals = dataclasses.field(default_factory=Totals)


@dataclasses.dataclass
class Content:
    """A repository, or a plain folder that was the target of a download."""

    path: str
    repository: Repository | None = None
    bytes: int = 0
    allocated: int = 0
    files: int = 0
    revisions: list[str] = dataclasses.field(default_factory=list)
    refs: dict[str, str] = dataclasses.field(default_factory=dict)
    commit: str | None = None  # of the snapshot that `complete` speaks of
    complete: bool | None = False
    missing: list[str] = dataclasses.field(default_factory=list)
    partials: list[Partial] = dataclasses.field(default_factory=list)
    broken: list[Broken] = dataclasses.field(default_factory=list)

    @property
    def repo_id(self) -> str | None:
        return self.repository.repo_id if self.repository else None

    def count(self, found: os.stat_result) -> None:
        self.files += 1
        self.bytes += found.st_size
        self.allocated += found.st_blocks * 512

    def lacks(self, gap: str) -> None:
        self.missing.append(gap)
        self.complete = False

    @property
    def top(self) -> str:
        """Folder with the files under their own names."""
        return os.path.join(self.path, "snapshots", self.commit or "") if self.repository else self.path

    def probe(self, entry: os.DirEntry[str]) -> None:
        with contextlib.suppress(OSError):
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                self.broken.append(Broken("probes", entry.path, "left by a client that was killed", found))

    def has(self, gap: str) -> bool:
        """Whether what another tree lacks is here: a file, or weights or a tokenizer as such."""
        return gap in ("weights", "tokenizer") or os.path.exists(os.path.join(self.top, gap))

    def describe(self) -> dict[str, t.Any]:
        return {
            "path": shown(self.path),
            "bytes": self.bytes,
            "allocated_bytes": self.allocated,
            "files": self.files,
            "complete": self.complete,
            "missing": [shown(gap) for gap in self.missing],
            "partials": [partial.describe() for partial in self.partials],
            "broken": [broken.describe(self.repo_id) for broken in self.broken],
        }


def scan_repository(repository: Repository, asked: Asked, look: Look) -> Content:
    content = Content(repository.path, repository)
    entries = look.sorted(os.path.join(repository.path, "snapshots"))
    content.revisions = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    _read_refs(content, look)
    _choose(content, asked.revisions.get(repository.repo_id))
    judge = content.complete is True
    recorded = _recorded(repository, content.commit) if judge else {}
    listed = {**recorded, **_listed(repository, content.commit)} if judge else {}
    sizes = {name: file.size for name, file in listed.items()}
    blobs = 0
    for entry in look.entries(os.path.join(repository.path, "blobs")):
        if BLOB.fullmatch(entry.name):
            blobs += 1
        elif PROBE.fullmatch(entry.name):
            content.probe(entry)
        else:
            content.partials += partials_of(repository, entry)
    content.partials.sort(key=lambda partial: partial.path)
    parts = 1 + blobs // AT_ONCE
    weights = False
    for part in range(parts):
        weights |= _Pass(repository, content, asked, look, sizes, part, parts).run()
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
            commit = verify.read_text(entry.path, 4096).strip()[:64]
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


class Listed(t.NamedTuple):
    """A file as a list of the commit has it."""

    size: int
    etag: str | None


def _recorded(repository: Repository, commit: str | None) -> dict[str, Listed]:
    """The files that hf_download wanted, where it has noted them."""
    return _files(verify.read_json(_list_of(repository, ".dgxspark", commit)))


def _listed(repository: Repository, commit: str | None) -> dict[str, Listed]:
    """All files of the commit, where the client has kept the list."""
    manifest = verify.read_json(_list_of(repository, "trees", commit))
    return _files(manifest.get("files") if isinstance(manifest, dict) else None)


def _list_of(repository: Repository, kind: str, commit: str | None) -> str:
    return os.path.join(repository.path, kind, f"{commit}.json")


def _files(listed: t.Any) -> dict[str, Listed]:
    files = {}
    for name, known in (listed if isinstance(listed, dict) else {}).items():
        size = known.get("size") if isinstance(known, dict) else None
        if isinstance(size, int):
            etag = known.get("etag") or known.get("lfs_sha256") or known.get("blob_id")
            files[name] = Listed(size, etag if isinstance(etag, str) else None)
    return files


class _Pass:
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
                found = verify.header_flaw(path, name, size)
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


def holes_of(found: os.stat_result) -> str:
    return f"{found.st_blocks * 512} of {found.st_size} bytes are on the disk"


def lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def completeness(content: Content, listed: dict[str, Listed], weights: bool, recorded: t.Collection[str] = ()) -> None:
    """What vLLM would look for in the snapshot and not find. `recorded` are the files that hf_download wanted."""
    known = {gap.split(" (")[0] for gap in content.missing}
    # vLLM fetches a part of the repository only, so not everything that is listed has to be there.
    wanted = {name for name in listed if name in ("model.safetensors", "model.safetensors.index.json")}
    wanted |= {name for name in listed if _SHARD.fullmatch(name)} | {"config.json", *recorded}
    # What hf_download wanted is looked for by its name, and a list of the client may have no tokenizer.
    tokenizer = bool(recorded) or (bool(listed) and not any(map(is_tokenizer, listed)))
    indices: list[str] = []
    with contextlib.suppress(OSError), os.scandir(content.top) as entries:
        for entry in entries:
            tokenizer = tokenizer or is_tokenizer(entry.name)
            if entry.name.endswith(".index.json"):
                indices.append(entry.name)
    for name in sorted(indices):
        if name in known:
            continue
        index = verify.read_json(os.path.join(content.top, name))
        if isinstance(index, dict) and isinstance(index.get("weight_map"), dict):
            wanted |= {str(shard) for shard in index["weight_map"].values()}
        else:
            content.lacks(f"{name} (not a valid index)")
    for name in sorted(wanted - known):
        if not os.path.exists(os.path.join(content.top, name)):
            content.lacks(name)
    if not weights and not any(name.endswith(verify.WEIGHTS) for name in wanted):
        content.lacks("weights")
    if not tokenizer:
        content.lacks("tokenizer")
    etags = {listed[name].etag for name in recorded or listed} - {None}
    for partial in content.partials:
        if etags and partial.etag not in etags:
            continue  # of another commit, or of a file that nobody wants
        if content.repository and not os.path.exists(os.path.join(content.path, "blobs", partial.etag)):
            content.lacks(f"blobs/{os.path.basename(partial.path)} (partial)")


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
