# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Hugging Face cache: what is in it, what is missing, which partial downloads are dead, and how to remove those.

PRIVATE to this collection; it can change at any time.

    PATH/                                   a root (`--download-dir`, HF_HUB_CACHE), and so is PATH/hub (below HF_HOME)
      .locks/models--ORG--NAME/ETAG.lock    flock-ed while a file is downloaded; stays when free: presence says nothing
      SHA256ORG-NAME.lock                   vLLM's own lock around the whole download
      models--ORG--NAME/refs/main           text: a commit
                       /snapshots/COMMIT/…  links to ../../blobs/ETAG
                       /blobs/ETAG          the content
                       /blobs/ETAG[.8HEX].incomplete   a partial
                       /trees/COMMIT.json   all files of the commit with their sizes (huggingface_hub >= 1.22)
      FOLDER/.cache/huggingface/download/   partials and locks of downloads into a plain folder
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import time
import typing as t

_ETAG = r"(?P<etag>[0-9a-f]{64}|[0-9a-f]{40})"
_BLOB = re.compile(_ETAG)
_PARTIAL = re.compile(_ETAG + r"(\.[0-9a-f]{8})?\.incomplete")
_LOCAL_PARTIAL = re.compile(r".+\." + _PARTIAL.pattern)
_REPOSITORY = re.compile(r"(?P<type>model|dataset|space|kernel)s--(?P<name>.+)")
_MODEL_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*/\w[\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")

# flock there either always succeeds, or does not reach the other hosts, whose open files cannot be seen either.
_NETWORK_FILESYSTEMS = ("nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "9p", "afs", "beegfs", "ceph", "glusterfs")

_SECRETS = (
    (re.compile(r"hf_[A-Za-z0-9]{8,}"), "hf_***"),
    (re.compile(r"(?i)((?:token|key|password|secret)[\w-]*=)\S+"), r"\1***"),
)


class CacheError(Exception):
    """A path or a name that we refuse to work with; the message is for the user."""


@dataclasses.dataclass
class Partial:
    """An incomplete download. `live` is None when that cannot be told."""

    path: str
    repo_id: str | None
    etag: str
    locks: list[str]
    stat: os.stat_result
    live: bool | None = None
    reason: str = ""
    holder_pid: int | None = None
    holder_command: str | None = None

    @property
    def allocated(self) -> int:
        return self.stat.st_blocks * 512

    def describe(self) -> dict[str, t.Any]:
        return {
            "path": self.path,
            "repo_id": self.repo_id,
            "bytes": self.stat.st_size,
            "allocated_bytes": self.allocated,
            "live": self.live,
            "reason": self.reason,
            "holder_pid": self.holder_pid,
            "holder_command": self.holder_command,
            "age_seconds": max(0, int(time.time() - self.stat.st_mtime)),
        }


@dataclasses.dataclass
class Repository:
    repo_id: str
    type: str
    path: str
    partials: list[Partial]


# --- what may be worked on -------------------------------------------------------------------------------------------


def check_path(path: str) -> None:
    if not os.path.isabs(path):
        raise CacheError(f"path: {path} is not absolute; use the whole path, like /opt/hf")
    if os.path.realpath(path) == "/":
        raise CacheError(f"path: {path} is not allowed; use the folder of the cache, like /opt/hf")
    if os.path.islink(path.rstrip("/")):
        raise CacheError(f"path: {path} is a symbolic link; use the folder itself, {os.path.realpath(path)}")
    if os.path.lexists(path) and not os.path.isdir(path):
        raise CacheError(f"path: {path} is not a directory; use the folder of the cache, like /opt/hf")


def check_models(models: list[str]) -> None:
    for model in models:
        if not _MODEL_ID.fullmatch(model):
            raise CacheError(
                f"models: {model!r} is not a Hugging Face id; use ORGANISATION/NAME, like Qwen/Qwen3-8B-FP8"
            )


# --- what is there ---------------------------------------------------------------------------------------------------


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Content of a real folder; nothing for a link, a file, or what is not there."""
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            return []
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except PermissionError:
        raise CacheError(f"{folder} cannot be read; run this task with become: true") from None


def _partial(entry: os.DirEntry[str], pattern: re.Pattern[str], repo_id: str | None) -> Partial | None:
    match = pattern.fullmatch(entry.name)
    if match is None or not entry.is_file(follow_symlinks=False):
        return None
    try:
        return Partial(entry.path, repo_id, match["etag"], [], entry.stat(follow_symlinks=False))
    except FileNotFoundError:  # finished meanwhile
        return None


def vllm_lock(root: str, repo_id: str) -> str:
    """The lock that vLLM holds in its download folder while it fetches the files of a model."""
    name = repo_id.replace("/", "-")
    return os.path.join(root, hashlib.sha256(name.encode()).hexdigest() + name + ".lock")


def find_repositories(path: str, models: list[str]) -> list[Repository]:
    """Repositories under PATH and PATH/hub, all of them or those of the models."""
    roots = (path, os.path.join(path, "hub"))
    found = []
    for root in roots:
        for entry in _entries(root):
            match = _REPOSITORY.fullmatch(entry.name)
            if match is None or not entry.is_dir(follow_symlinks=False):
                continue
            repo_id = match["name"].replace("--", "/")
            if models and (match["type"] != "model" or repo_id not in models):
                continue
            blobs = (_partial(blob, _PARTIAL, repo_id) for blob in _entries(os.path.join(entry.path, "blobs")))
            partials = [partial for partial in blobs if partial]
            for partial in partials:
                partial.locks = [vllm_lock(each, repo_id) for each in roots]
                partial.locks.append(os.path.join(root, ".locks", entry.name, f"{partial.etag}.lock"))
            found.append(Repository(repo_id, match["type"], entry.path, partials))
    return found


def _plain_folders(folder: str, depth: int) -> t.Iterator[str]:
    yield folder
    with contextlib.suppress(CacheError):
        for entry in _entries(folder) if depth else []:
            skip = entry.name.startswith(".") or entry.name == "xet" or _REPOSITORY.fullmatch(entry.name)
            if entry.is_dir(follow_symlinks=False) and not skip:
                yield from _plain_folders(entry.path, depth - 1)


def find_local_partials(path: str) -> list[Partial]:
    """Partials of downloads into plain folders: PATH itself, PATH/FOLDER and PATH/ORG/NAME."""
    found = []
    for folder in _plain_folders(path, 2):
        download = os.path.join(folder, ".cache", "huggingface", "download")
        if os.path.realpath(download) != os.path.join(os.path.realpath(folder), ".cache", "huggingface", "download"):
            continue
        for parent, _folders, _files in os.walk(download):
            entries = _entries(parent)
            # The partial's name hides which file it belongs to: every lock of the folder must be free.
            locks = [entry.path for entry in entries if entry.name.endswith(".lock")]
            for partial in filter(None, (_partial(entry, _LOCAL_PARTIAL, None) for entry in entries)):
                partial.locks = locks
                found.append(partial)
    return found


def scan(path: str, models: list[str]) -> tuple[list[Repository], list[Partial]]:
    """Repositories, and all partials: theirs and, unless the question is about models, those in plain folders."""
    check_path(path)
    check_models(models)
    repositories = find_repositories(path, models)
    partials = [partial for repository in repositories for partial in repository.partials]
    return repositories, partials if models else partials + find_local_partials(path)


# --- what is missing -------------------------------------------------------------------------------------------------


def _inside(path: str, root: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)


def _read_json(path: str) -> t.Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _refs(repository: Repository) -> dict[str, str]:
    top, refs = os.path.join(repository.path, "refs"), {}
    for parent, _folders, files in os.walk(top):
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                    refs[os.path.relpath(path, top)] = file.read(64).strip()
    return refs


def _snapshot_gaps(repository: Repository, commit: str, root: str) -> list[str]:
    top = os.path.join(repository.path, "snapshots", commit)
    sizes, gaps = {}, []
    for parent, _folders, files in os.walk(top):
        for name in files:
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, top)
            if not _inside(path, root):
                gaps.append(f"{relative} (link out of the cache)")
                continue
            try:
                sizes[relative] = os.path.getsize(path)
            except OSError:
                gaps.append(f"{relative} (broken link)")

    manifest = _read_json(os.path.join(repository.path, "trees", f"{commit}.json"))
    listed = manifest.get("files") if isinstance(manifest, dict) else None
    listed = listed if isinstance(listed, dict) else {}
    wanted = {"config.json"}
    # vLLM fetches a part of the repository only, so not everything that is listed has to be there.
    wanted |= {n for n in listed if n in ("model.safetensors", "model.safetensors.index.json") or _SHARD.fullmatch(n)}
    for name in [name for name in sizes if name.endswith(".index.json") and os.sep not in name]:
        index = _read_json(os.path.join(top, name))
        if isinstance(index, dict) and isinstance(index.get("weight_map"), dict):
            wanted |= {str(shard) for shard in index["weight_map"].values()}
        else:
            gaps.append(f"{name} (not a valid index)")
    gaps += sorted(wanted - sizes.keys() - {gap.split(" (")[0] for gap in gaps})
    if not any(name.endswith(_WEIGHTS) for name in wanted | sizes.keys()):
        gaps.append("weights")
    for name, size in sizes.items():
        expected = listed[name].get("size") if isinstance(listed.get(name), dict) else None
        if expected is not None and size != expected:
            gaps.append(f"{name} ({size} bytes instead of {expected})")
    for partial in repository.partials:
        if not os.path.exists(os.path.join(repository.path, "blobs", partial.etag)):
            gaps.append(f"blobs/{os.path.basename(partial.path)} (partial)")
    return gaps


def describe(repository: Repository, root: str) -> tuple[dict[str, t.Any], dict[tuple[int, int], int]]:
    """The repository, and the sizes of its files by (device, inode): repositories can share them."""
    blobs = [blob.path for blob in _entries(os.path.join(repository.path, "blobs")) if _BLOB.fullmatch(blob.name)]
    files = {}
    for path in blobs:
        with contextlib.suppress(FileNotFoundError):
            if _inside(path, root):
                found = os.stat(path)
                files[found.st_dev, found.st_ino] = found.st_size

    refs = _refs(repository)
    snapshots = _entries(os.path.join(repository.path, "snapshots"))
    revisions = [entry.name for entry in snapshots if entry.is_dir(follow_symlinks=False)]
    complete: bool | None = False
    missing: list[str] = []
    commit = refs.get("main", revisions[0] if len(revisions) == 1 else None)
    if repository.type != "model" or (commit is None and revisions):
        complete = None  # nothing says which files, or which of the revisions, should be whole
    elif commit is None:
        missing = ["snapshots"]
    elif not _COMMIT.fullmatch(commit):
        missing = ["refs/main (not a commit)"]
    elif commit not in revisions:
        missing = [f"snapshots/{commit}"]
    else:
        missing = _snapshot_gaps(repository, commit, root)
        complete = not missing
    return {
        "repo_id": repository.repo_id,
        "type": repository.type,
        "path": repository.path,
        "bytes": sum(files.values()),
        "revisions": revisions,
        "refs": refs,
        "complete": complete,
        "missing": missing,
        "partials": [partial.describe() for partial in repository.partials],
    }, files


# --- what is alive ---------------------------------------------------------------------------------------------------


def filesystem_type(path: str, mountinfo: str) -> str:
    """Type of the file system that holds the path: in mountinfo, the longest mount point, of several the last."""
    path, best, kind = os.path.realpath(path), "", ""
    for line in mountinfo.splitlines():
        fields, separator, source = line.partition(" - ")
        if not separator:
            continue
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4])
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, source.split()[0]
    return kind


def short_command(cmdline: str) -> str:
    """The first two words of /proc/PID/cmdline, masked: the rest, and even those, may carry secrets."""
    command = " ".join(cmdline.replace("\0", " ").split()[:2])
    for pattern, mask in _SECRETS:
        command = pattern.sub(mask, command)
    return command[:120]


def command_of(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return short_command(file.read()) or None
    except OSError:
        return None


def open_files(wanted: set[tuple[int, int]]) -> tuple[dict[tuple[int, int], int], bool]:
    """Processes, of any container, that have the (device, inode) open; and whether every process could be looked at."""
    holders: dict[tuple[int, int], int] = {}
    all_seen = True
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except PermissionError:
            all_seen = False
            continue
        except OSError:  # it ended meanwhile
            continue
        for descriptor in descriptors:
            link = f"/proc/{pid}/fd/{descriptor}"
            try:
                # The name first: stat of somebody else's file on a dead network mount would hang.
                if os.readlink(link).endswith((".incomplete", ".lock")):
                    found = os.stat(link)
                    if (found.st_dev, found.st_ino) in wanted:
                        holders[found.st_dev, found.st_ino] = int(pid)
            except OSError:  # closed meanwhile
                continue
    return holders, all_seen


@dataclasses.dataclass
class _Lock:
    busy: bool | None = False  # None: cannot be told
    reason: str = ""
    inode: tuple[int, int] | None = None


def _take_lock(path: str, exclusive: bool, stack: contextlib.ExitStack) -> _Lock:
    """Lock an existing lock file until the stack is closed. One that is not there is never made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _Lock()
    except OSError as error:
        return _Lock(None, f"the lock {path} cannot be opened: {error.strerror}")
    stack.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    if found.st_size:
        return _Lock(None, f"{path} is a soft lock; if no download runs, remove it by hand")
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return _Lock(True, f"a download holds {path}", (found.st_dev, found.st_ino))
        return _Lock(None, f"{path} cannot be locked: {error.strerror}")
    if os.fstat(descriptor).st_nlink == 0:
        return _Lock(None, f"{path} was replaced meanwhile")
    return _Lock()


@contextlib.contextmanager
def judged(partials: list[Partial], path: str, exclusive: bool) -> t.Iterator[None]:
    """Say of each partial whether it is live; hold the locks of the dead ones meanwhile, so that they stay dead.

    A shared lock is enough to look, and two who look do not take each other for a download.
    Time and size are no signs of life: a download writes 10 MiB at a time and can rest for long.
    """
    with contextlib.ExitStack() as stack:
        locks = {
            lock: _take_lock(lock, exclusive, stack)
            for lock in dict.fromkeys(lock for partial in partials for lock in partial.locks)
        }
        wanted = {(partial.stat.st_dev, partial.stat.st_ino) for partial in partials}
        wanted |= {lock.inode for lock in locks.values() if lock.inode}
        holders, all_seen = open_files(wanted) if wanted else ({}, True)
        kind = ""
        if partials:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                kind = filesystem_type(path, file.read())
        for partial in partials:
            mine = [locks[lock] for lock in partial.locks]
            busy = [lock for lock in mine if lock.busy]
            unclear = [lock for lock in mine if lock.busy is None]
            partial.holder_pid = holders.get((partial.stat.st_dev, partial.stat.st_ino))
            if partial.holder_pid is not None:
                partial.live, partial.reason = True, "a process has it open"
            elif busy:
                partial.live, partial.reason = True, busy[0].reason
                partial.holder_pid = next((holders[lock.inode] for lock in busy if lock.inode in holders), None)
            elif kind in _NETWORK_FILESYSTEMS or kind.startswith("fuse."):
                partial.live, partial.reason = None, f"flock is not reliable on {kind}"
            elif unclear:
                partial.live, partial.reason = None, unclear[0].reason
            elif not all_seen:
                partial.live, partial.reason = None, "not all processes can be seen; run this task with become: true"
            else:
                partial.live, partial.reason = False, "nobody downloads it: not locked, and no process has it open"
            partial.holder_command = command_of(partial.holder_pid) if partial.holder_pid else None
        yield


def remove(partial: Partial, check_mode: bool) -> int | None:
    """Remove the very file that was judged. Returns the bytes freed, None when it is not there any more."""
    try:
        folder = os.open(os.path.dirname(partial.path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        name = os.path.basename(partial.path)
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if (now.st_dev, now.st_ino) != (partial.stat.st_dev, partial.stat.st_ino):
            return None
        if not check_mode:
            os.unlink(name, dir_fd=folder)
        return now.st_blocks * 512 if now.st_nlink == 1 else 0
    except FileNotFoundError:
        return None
    finally:
        os.close(folder)
