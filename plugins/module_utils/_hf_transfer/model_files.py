# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a model vLLM needs, and which of them are in the cache.

The layout of a cache is described in _hf_cache/layout.py. In addition, a download writes
models--ORG--NAME/.dgxspark/COMMIT.json, the hub's own list of the files: clients before 1.22 keep none, and without it
a missing file cannot be detected offline.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import typing as t

from .._hf_cache import beneath, verify
from .._hf_cache.files import write_text
from .._hf_cache.layout import INCOMING, Look, is_tokenizer, tree_roots

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"(?!.*(\.\.|//))[\w][\w./-]*", re.ASCII)
_TEXTS = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py", ".vocab")
_WEIGHTS = (".safetensors", ".bin", ".pt")  # the first sort that is there, as vLLM chooses
_OTHER_FORMATS = ("original", "metal", "onnx", "openvino", "coreml", "gguf")  # folders with the same weights once more
_INDEX = ".index.json"
# Since then a partial download has a random name and is never used again.
_NO_RESUME_SINCE = (1, 18)


_LARGEST = 1 << 60


class File(t.NamedTuple):
    size: int
    etag: str  # the name of its blob


Files = dict[str, File]


def check_revision(revision: str) -> str | None:
    """What is wrong with it, if something is: it becomes a part of a path."""
    if _REVISION.fullmatch(revision):
        return None
    return f"revision: {revision!r} is not allowed; use a commit, or the name of a branch or tag such as main"


def is_commit(text: str) -> bool:
    return _COMMIT.fullmatch(text) is not None


def repository(path: str, model: str) -> str:
    return os.path.join(path, "models--" + model.replace("/", "--"))


def tree_of(path: str, model: str) -> str:
    """The root of the cache at PATH that has the model's repository: PATH or PATH/hub; PATH where none has it."""
    found = (root for root in tree_roots(path) if beneath.is_folder(path, repository(root, model)))
    return next(found, path)


# --- what vLLM asks for ----------------------------------------------------------------------------------------------


def select(names: t.Iterable[str]) -> list[str]:
    """Configuration, tokenizer and templates wherever they are, weights of one sort from the root."""
    found = [name for name in names if name.split("/")[0] not in _OTHER_FORMATS and not name.startswith(".")]
    weights: list[str] = []
    for suffix in _WEIGHTS:
        weights = weights or [name for name in found if name.endswith(suffix) and "/" not in name]
    others = [name for name in weights if not _is_consolidated(name)]
    if others:  # Mistral's repositories have the same weights in their own form, too
        found = [name for name in found if not _is_consolidated(name)]
        weights = others
    kind = os.path.splitext(weights[0])[1] if weights else ""

    def is_text(name: str) -> bool:
        if name.endswith(_INDEX) and "/" not in name:  # pytorch_model.bin.index.json beside safetensors
            return f"{kind}{_INDEX}" in name
        return name.endswith(_TEXTS)

    return sorted(weights + [name for name in found if is_text(name)])


def _is_consolidated(name: str) -> bool:
    return name.startswith("consolidated") and (name.endswith(_WEIGHTS) or name.endswith(_INDEX))


def has_weights(names: t.Iterable[str]) -> bool:
    return any(name.endswith(_WEIGHTS) for name in names)


def parse_listing(listed: t.Any) -> Files:
    """Files as the client in the container, or our own record, lists them. Nonsense is left out."""
    files: Files = {}
    for name, entry in listed.items() if isinstance(listed, dict) else []:
        size, etag = (entry.get("size"), entry.get("etag")) if isinstance(entry, dict) else (None, None)
        if not isinstance(size, int) or not isinstance(etag, str):
            continue
        if 0 <= size < _LARGEST and is_name(name) and is_name(etag) and "/" not in etag:
            files[name] = File(size, etag)
    return files


def is_name(name: str) -> bool:
    """Whether it can be a path below a folder, and be shown. A list may come from somebody else."""
    try:
        return "\0" not in name and 0 < len(name.encode()) < 4096 and not {"..", ".", ""} & set(name.split("/"))
    except UnicodeEncodeError:  # half a character, or a byte that is not UTF-8
        return False


def wanted(files: Files) -> Files:
    return {name: files[name] for name in select(files)}


# --- what is there ---------------------------------------------------------------------------------------------------


class Snapshot(t.NamedTuple):
    commit: str | None
    path: str | None
    present: dict[str, int]
    missing: list[str]
    damaged: list[str]  # there, and not what they should be: a client takes them as they are

    @property
    def complete(self) -> bool:
        return self.commit is not None and not (self.missing or self.damaged)


def look_up(path: str, model: str, revision: str) -> Snapshot:
    """The snapshot of a revision as it is on the disk. Sizes are compared, contents are not."""
    return look_up_in(tree_of(path, model), model, revision)


def look_up_in(path: str, model: str, revision: str) -> Snapshot:
    """The same of one tree, whatever another one has."""
    folder = repository(path, model)
    commit = revision if _COMMIT.fullmatch(revision) else read_ref(path, folder, revision)
    top = os.path.join(folder, "snapshots", commit)
    if not _COMMIT.fullmatch(commit) or not beneath.is_folder(path, top):
        return Snapshot(None, None, {}, [], [])
    present = sizes_below(top, path)
    files = wanted(recorded(folder, commit))
    if not files:
        missing, damaged = by_index(path, top, present)
    else:
        missing = [name for name in files if name not in present]
        damaged = [name for name, file in files.items() if present.get(name, file.size) != file.size]
    return Snapshot(commit, top, present, sorted(missing), sorted(damaged))


def read_ref(root: str, folder: str, revision: str) -> str:
    """The commit that a branch or tag names; empty where that is not known."""
    try:
        return beneath.read_text(root, os.path.join(folder, "refs", revision), beneath.REF_MAX).strip()
    except (OSError, ValueError):
        return ""


def recorded(folder: str, commit: str) -> Files:
    """The hub's list of the files of a commit: ours, or the client's."""
    root = os.path.dirname(folder)
    files = parse_listing(beneath.read_json(root, os.path.join(folder, ".dgxspark", f"{commit}.json")))
    if files:
        return files
    tree = beneath.read_json(root, os.path.join(folder, "trees", f"{commit}.json"))
    listed = tree.get("files") if isinstance(tree, dict) else None
    entries = listed.items() if isinstance(listed, dict) else []
    return parse_listing(
        {
            name: {"size": entry.get("size"), "etag": entry.get("lfs_sha256") or entry.get("blob_id")}
            for name, entry in entries
            if isinstance(entry, dict)
        }
    )


def record(folder: str, commit: str, files: Files) -> None:
    """Keep the hub's list. A reader sees all of it or nothing."""
    listed = {name: file._asdict() for name, file in files.items()}
    place = os.path.join(folder, ".dgxspark", f"{commit}.json")
    write_text(os.path.dirname(folder), place, json.dumps(listed, indent=1))


def point(folder: str, revision: str, commit: str) -> None:
    """Have a branch or tag name a commit, as a client does after it has asked the hub."""
    write_text(os.path.dirname(folder), os.path.join(folder, "refs", revision), commit)


def sizes_below(top: str, root: str) -> dict[str, int]:
    """Files of a snapshot; broken links, links out of the cache, pipes and devices are none."""
    found = {}
    folders = [top]
    while folders:  # os.walk() calls itself for each level, before Python 3.12
        path = folders.pop()
        try:
            entries = list(os.scandir(path))
        except OSError:  # it is gone, or no one's model lies as deep
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif file := beneath.regular(root, entry.path):
                found[os.path.relpath(entry.path, top)] = file[0].st_size
    return found


def by_index(root: str, top: str, present: t.Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Missing and damaged files, where nothing lists the files: by what a model must have.

    TOP is its folder, PRESENT the files in it with their sizes, and ROOT what no link may lead out of.
    """
    files = select(present)
    weights = {name for name in files if name.endswith(_WEIGHTS)}
    damaged, shards = [], set[str]()
    for name in files:
        if name.endswith(".json") and "/" not in name:
            content = beneath.read_json(root, os.path.join(top, name))
            if content is None:
                damaged.append(name)
            elif name.endswith(_INDEX):
                found = content.get("weight_map") if isinstance(content, dict) else None
                shards |= set(filter(is_name, map(str, found.values()))) if isinstance(found, dict) else set()
    damaged += [
        n for n in weights if n.endswith(".safetensors") and not _is_whole(root, os.path.join(top, n), present[n])
    ]
    missing = ({"config.json"} | shards) - present.keys()
    if not weights | shards:
        missing.add("the weights")
    if not any(map(is_tokenizer, present)):
        missing.add("the tokenizer")
    return list(missing), damaged


def _is_whole(root: str, path: str, size: int) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        return verify.safetensors_flaw(root, path, size) is None
    except OSError:
        return False


# --- bytes -----------------------------------------------------------------------------------------------------------


def by_blob(files: Files) -> dict[str, int]:
    """Sizes by blob: two names of the same content cost one download."""
    return {file.etag: file.size for file in files.values()}


def blob_bytes(folder: str, files: Files) -> int:
    """Bytes of these files on the disk, the largest partial of each unfinished one included.

    A file with holes counts with what it takes: parallel writers make it in its full length at once.
    """
    sizes, have = by_blob(files), dict[str, int]()
    look = Look()
    for entry in itertools.chain.from_iterable(
        look.entries(os.path.join(folder, name)) for name in ("blobs", INCOMING)
    ):
        etag = entry.name.split(".", 1)[0]
        if etag not in sizes:
            continue
        with contextlib.suppress(OSError):  # renamed or removed since the listing
            status = entry.stat()
            size = status.st_size if entry.name == etag else min(status.st_size, status.st_blocks * 512)
            have[etag] = max(have.get(etag, 0), min(size, sizes[etag]))
    return sum(have.values())


def resumes(client: str) -> bool:
    """Whether this client goes on where an earlier download stopped."""
    numbers = [int(number) for number in re.findall(r"\d+", client)[:2]]
    return tuple(numbers) < _NO_RESUME_SINCE


def can_be_resumed(partial: str, status: os.stat_result, sizes: t.Mapping[str, int]) -> bool:
    """A partial of the older naming, of a file that is wanted, without holes: those are never filled."""
    etag, _dot, rest = os.path.basename(partial).partition(".")
    whole = status.st_blocks * 512 >= status.st_size
    return rest == "incomplete" and whole and 0 < status.st_size <= sizes.get(etag, 0)
