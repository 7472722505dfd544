# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are in a Hugging Face cache, and which paths and names are worked on.

PATH/                                   a root (`--download-dir`, HF_HUB_CACHE), and so is PATH/hub (below HF_HOME)
  .locks/models--ORG--NAME/ETAG.lock    flock-ed while a file is downloaded; stays when free: presence says nothing
  SHA256ORG-NAME.lock                   vLLM's own lock around the whole download
  models--ORG--NAME/refs/main           text: a commit
                   /snapshots/COMMIT/…  links to ../../blobs/ETAG
                   /blobs/ETAG          the content, or a link to ../../blobs/2HEX/XETHASH
                   /blobs/ETAG[.8HEX].incomplete   a partial
                   /.dgxspark/incoming/ETAG.incomplete   a partial of hf_cache_copy
                   /trees/COMMIT.json   all files of the commit with their sizes (huggingface_hub >= 1.22)
  blobs/2HEX/XETHASH[.refs|.lock]       store that repositories share (huggingface_hub >= 1.31)
  FOLDER/.cache/huggingface/download/   partials, locks and ETAGs (FILE.metadata) of downloads into a plain folder
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import stat
import typing as t

ETAG = r"(?P<etag>[0-9a-f]{64}|[0-9a-f]{40})"
BLOB = re.compile(ETAG)
COMMIT = re.compile(r"[0-9a-f]{40}")
PARTIAL = re.compile(ETAG + r"(\.[0-9a-f]{8})?\.incomplete")
LOCAL_PARTIAL = re.compile(r".+\." + PARTIAL.pattern, re.DOTALL)
PAYLOAD = re.compile(r"[0-9a-f]{64}")
# Left by a client that was killed at the wrong moment: umask probes, and the staging names of a replaced file.
PROBE = re.compile(r"tmp_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\." + ETAG + r"\.[0-9a-f]{8}\.(new|old|shared)")
REF_PROBE = re.compile(r".+\.[0-9a-f]{8}\.tmp", re.DOTALL)
TREE_PROBE = re.compile(r"tmp[a-z0-9_]{8}\.tmp")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")
_REPOSITORY = re.compile(r"(?P<type>model|dataset|space|kernel)s--(?P<name>.+)", re.DOTALL)
_MODEL_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*/\w[\w.-]*", re.ASCII)
_OLD_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*", re.ASCII)

INCOMING = os.path.join(".dgxspark", "incoming")
STORE_MARKER = ".huggingface-shared-blobs"
_DOWNLOAD = os.path.join(".cache", "huggingface", "download")
_SYSTEM = {
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
}
_SYSTEM_BELOW = ("/boot/", "/etc/", "/proc/", "/sys/", "/usr/bin/", "/usr/lib/", "/usr/sbin/")
# What a root may hold beside repositories and still be known as a cache.
_MARKS = {".locks", "CACHEDIR.TAG", "hub", "xet", "version.txt", "modules", "token", "stored_tokens"}

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class CacheError(Exception):
    """A path or a name that we refuse to work with; the message is for the user."""


class Look:
    """Listings of one run, and what could not be listed. What vanishes meanwhile is simply not there."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}

    def skip(self, path: str, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            hint = "; run this task with become: true" if isinstance(error, PermissionError) else ""
            self.skipped[path] = f"{error.strerror}{hint}"

    def entries(self, folder: str) -> t.Iterator[os.DirEntry[str]]:
        """Content of a real folder, one at a time; nothing for a link, a file, or what is not there."""
        try:
            if stat.S_ISDIR(os.lstat(folder).st_mode):
                with os.scandir(folder) as entries:
                    yield from entries
        except OSError as error:
            self.skip(folder, error)

    def sorted(self, folder: str) -> list[os.DirEntry[str]]:
        return sorted(self.entries(folder), key=lambda entry: entry.name)

    def files(self, folder: str, depth: int = 64) -> t.Iterator[os.DirEntry[str]]:
        """All that is no folder, below. Links to folders are not followed."""
        for entry in self.entries(folder):
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif depth:
                yield from self.files(entry.path, depth - 1)


@dataclasses.dataclass
class Repository:
    repo_id: str
    type: str
    path: str
    root: str
    # Roots in which vLLM may hold its lock: it is in one of them, but the files may be in the other.
    roots: tuple[str, str]

    @property
    def locks_folder(self) -> str:
        return os.path.join(self.root, ".locks", os.path.basename(self.path))

    @property
    def partial_folders(self) -> tuple[str, str]:
        """Where downloads and copies write what is not complete yet."""
        return os.path.join(self.path, "blobs"), os.path.join(self.path, INCOMING)

    @property
    def vllm_locks(self) -> list[str]:
        return [vllm_lock(root, self.repo_id) for root in self.roots]


def shown(path: str) -> str:
    """The path as one line of valid text, whatever bytes somebody put into the name."""
    try:
        content = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # out of a JSON file, where half a character is possible
        content = path.encode("utf-8", "surrogatepass")
    text = content.decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def check_path(path: str) -> None:
    if "\0" in path:
        raise CacheError(f"path: {shown(path)} is not a path; use the whole path, like /opt/hf")
    if not os.path.isabs(path):
        raise CacheError(f"path: {shown(path)} is not absolute; use the whole path, like /opt/hf")
    real = os.path.realpath(path)
    if os.path.islink(path.rstrip("/")):
        raise CacheError(f"path: {shown(path)} is a symbolic link; use the folder itself, {shown(real)}")
    if os.path.lexists(path) and not os.path.isdir(path):
        raise CacheError(f"path: {shown(path)} is not a directory; use the folder of the cache, like /opt/hf")
    if real == "/" or real.lstrip("/") in _SYSTEM or f"{real}/".startswith(_SYSTEM_BELOW):
        raise CacheError(f"path: {shown(path)} is not allowed; use the folder of the cache, like /opt/hf")


def check_models(models: list[str], option: str = "models", path: str = "") -> None:
    """Old models have no organization, such as gpt2. Such a name is taken where the cache has the model: it may be a
    slip as well, and what is not named right in keep_models goes."""
    for model in models:
        places = tree_roots(path) if path and _OLD_ID.fullmatch(model) else ()
        known = any(os.path.isdir(os.path.join(place, f"models--{model}")) for place in places)
        if not known and not _MODEL_ID.fullmatch(model):
            raise CacheError(
                f"{option}: {model!r} is not a Hugging Face id; use ORGANIZATION/NAME, like Qwen/Qwen3-8B-FP8"
            )


def check_is_cache(path: str, look: Look) -> None:
    """Refuse a folder in which nothing looks like a cache: somebody mistyped the path."""
    names = [entry.name for entry in look.entries(path)]
    known = [name for name in names if name in _MARKS or _REPOSITORY.fullmatch(name) or name.endswith(".lock")]
    known += [path] if is_store(os.path.join(path, "blobs")) else []
    if set(names) - {"lost+found"} and not known and not find_local_folders(path, look):
        raise CacheError(f"path: {shown(path)} is not a Hugging Face cache; use the folder of the cache, like /opt/hf")


def vllm_lock(root: str, repo_id: str) -> str:
    """The lock that vLLM holds in its download folder while it fetches the files of a model."""
    name = repo_id.replace("/", "-")
    return os.path.join(root, hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest() + name + ".lock")


def tree_roots(path: str) -> tuple[str, str]:
    return path, os.path.join(path, "hub")


def find_repositories(path: str, models: list[str], look: Look) -> list[Repository]:
    """Repositories under PATH and PATH/hub, all of them or those of the models."""
    found = []
    for root in tree_roots(path):
        for entry in look.sorted(root):
            match = _REPOSITORY.fullmatch(entry.name)
            if match is None or not entry.is_dir(follow_symlinks=False):
                continue
            repo_id = match["name"].replace("--", "/")
            if not models or (match["type"] == "model" and repo_id in models):
                found.append(Repository(repo_id, match["type"], entry.path, root, tree_roots(path)))
    return found


def find_local_folders(path: str, look: Look, depth: int = 2) -> list[str]:
    """Plain folders that were the target of a download: PATH itself, PATH/FOLDER and PATH/ORG/NAME."""
    found = []
    if os.path.isdir(download_folder(path)) and not _passes_a_link(path):
        found.append(path)
    for entry in look.sorted(path) if depth else []:
        skip = entry.name.startswith(".") or entry.name == "xet" or _REPOSITORY.fullmatch(entry.name)
        if not skip and entry.is_dir(follow_symlinks=False):
            found += find_local_folders(entry.path, look, depth - 1)
    return found


def is_tokenizer(name: str) -> bool:
    return name in _TOKENIZERS or name.endswith(".tiktoken")


def download_folder(folder: str) -> str:
    return os.path.join(folder, _DOWNLOAD)


def _passes_a_link(folder: str) -> bool:
    return os.path.realpath(download_folder(folder)) != os.path.join(os.path.realpath(folder), _DOWNLOAD)


def is_store(path: str) -> bool:
    """Whether this is the folder that repositories share their blobs in: a real one, with the client's mark."""
    return not os.path.islink(path) and os.path.isfile(os.path.join(path, STORE_MARKER))
