# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scan finds in a repository or a plain folder: bytes, partials, broken files, and what is missing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import typing as t

from . import beneath
from .layout import Repository, shown
from .partials import Partial

# These alone keep no model from loading.
HARMLESS = ("sparse", "unreferenced", "probes", "wrong_owner")


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
    commit: str | None = None  # of the snapshot that `complete` is about
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
    def root(self) -> str:
        """What its files must not lead out of."""
        return self.repository.root if self.repository else self.path

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
        return gap in ("weights", "tokenizer") or beneath.regular(self.root, os.path.join(self.top, gap)) is not None

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


def holes_of(found: os.stat_result) -> str:
    return f"{found.st_blocks * 512} of {found.st_size} bytes are on the disk"


def lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
