# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the host: breaks each model of the cache argv[1] as its name says, all that docs/reference/cache.md lists."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

SHARD = "model-00001-of-00002.safetensors"


def link(repo: Path, name: str) -> Path:
    return next(repo.glob(f"snapshots/*/{name}"))


def blob(repo: Path, name: str) -> Path:
    return link(repo, name).resolve()


def spoil(repo: Path) -> None:
    """The right size, other bytes."""
    with blob(repo, SHARD).open("r+b") as file:
        file.seek(100_000)
        file.write(b"\xff" * 4096)


def punch(repo: Path) -> None:
    """What a resumed parallel download leaves: the right size, the rest never written."""
    path = blob(repo, SHARD)
    size = path.stat().st_size
    os.truncate(path, 100_000)
    os.truncate(path, size)


def halve(repo: Path) -> None:
    """As --download-dir leaves it: weights in one tree, config.json in the other."""
    here, there = link(repo, "config.json"), repo.parent / "hub" / repo.name
    other = there / here.relative_to(repo)
    for folder in (there / "blobs", there / "refs", other.parent):
        folder.mkdir(parents=True)
    blob(repo, "config.json").rename(there / "blobs" / blob(repo, "config.json").name)
    here.rename(other)
    (there / "refs" / "main").write_text((repo / "refs" / "main").read_text())


def old(path: Path, text: str) -> None:
    """A client writes the ref first: a young one is left alone."""
    path.write_text(text)
    os.utime(path, (1_700_000_000, 1_700_000_000))


# name of the model: what breaks it, and the states in which it is found then
DAMAGE = {
    "whole": (lambda repo: None, []),
    "partial": (lambda repo: (repo / "blobs" / f"{'1' * 64}.incomplete").write_bytes(b"x"), ["partials"]),
    "dangling": (lambda repo: blob(repo, SHARD).unlink(), ["dangling_links"]),
    "missing": (lambda repo: link(repo, SHARD).unlink(), ["unreferenced"]),
    "truncated": (lambda repo: os.truncate(blob(repo, SHARD), 1_000_000), ["truncated"]),
    "empty": (lambda repo: os.truncate(blob(repo, SHARD), 0), ["empty"]),
    "pointer": (
        lambda repo: blob(repo, SHARD).write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{'1' * 64}\nsize 99\n"
        ),
        ["lfs_pointers"],
    ),
    "corrupt": (spoil, ["corrupt"]),
    "sparse": (punch, ["corrupt"]),  # the hash settles it
    "emptyconfig": (lambda repo: os.truncate(blob(repo, "config.json"), 0), ["empty"]),
    "badconfig": (lambda repo: blob(repo, "config.json").write_text('{"a": '), ["truncated"]),
    "emptyref": (lambda repo: old(repo / "refs" / "main", ""), ["refs"]),
    "staleref": (lambda repo: old(repo / "refs" / "gone", "1" * 40), ["refs"]),
    "waste": (
        lambda repo: (repo / "blobs" / hashlib.sha1(b"blob 1\0x").hexdigest()).write_bytes(b"x"),
        ["unreferenced"],
    ),
    "probe": (lambda repo: (repo / "tmp_01234567-89ab-cdef-0123-456789abcdef").touch(), ["probes"]),
    "foreign": (lambda repo: os.chown(blob(repo, SHARD), 65534, 65534), ["wrong_owner"]),
    "halftree": (halve, []),
}

if __name__ == "__main__":
    for name, (breaks, _states) in DAMAGE.items():
        breaks(Path(sys.argv[1], f"models--journey--{name}"))
    print(json.dumps(sorted(DAMAGE)))
