# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot has every file that vLLM loads, by the lists of the commit and the index of the weights."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from . import beneath, verify
from .content import Content
from .layout import Repository, is_tokenizer

_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


class Listed(t.NamedTuple):
    """A file as a list of the commit has it."""

    size: int
    etag: str | None


def recorded_files(repository: Repository, commit: str | None) -> dict[str, Listed]:
    """The files that hf_download wanted, where it has noted them."""
    return _files(_read_list(repository, ".dgxspark", commit))


def listed_files(repository: Repository, commit: str | None) -> dict[str, Listed]:
    """All files of the commit, where the client has kept the list."""
    manifest = _read_list(repository, "trees", commit)
    return _files(manifest.get("files") if isinstance(manifest, dict) else None)


def _read_list(repository: Repository, kind: str, commit: str | None) -> t.Any:
    return beneath.read_json(repository.root, os.path.join(repository.path, kind, f"{commit}.json"))


def _files(listed: t.Any) -> dict[str, Listed]:
    files = {}
    for name, known in (listed if isinstance(listed, dict) else {}).items():
        size = known.get("size") if isinstance(known, dict) else None
        if isinstance(size, int):
            etag = known.get("etag") or known.get("lfs_sha256") or known.get("blob_id")
            files[name] = Listed(size, etag if isinstance(etag, str) else None)
    return files


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
        index = beneath.read_json(content.root, os.path.join(content.top, name))
        if isinstance(index, dict) and isinstance(index.get("weight_map"), dict):
            wanted |= {str(shard) for shard in index["weight_map"].values()}
        else:
            content.lacks(f"{name} (not a valid index)")
    for name in sorted(wanted - known):
        if beneath.regular(content.root, os.path.join(content.top, name)) is None:
            content.lacks(name)
    if not weights and not any(name.endswith(verify.WEIGHTS) for name in wanted):
        content.lacks("weights")
    if not tokenizer:
        content.lacks("tokenizer")
    etags = {listed[name].etag for name in recorded or listed} - {None}
    for partial in content.partials:
        if etags and partial.etag not in etags:
            continue  # of another commit, or of a file that nobody wants
        blob = os.path.join(content.path, "blobs", partial.etag)
        if content.repository and beneath.regular(content.root, blob) is None:
            content.lacks(f"blobs/{os.path.basename(partial.path)} (partial)")
