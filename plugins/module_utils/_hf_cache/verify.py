# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether files hold what they should: by a look at the header, or by the hash.

A blob's name tells its content: 64 digits are the SHA-256, 40 are the SHA-1 that git gives it. Nobody has to be asked.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import hashlib
import json
import os
import struct
import threading
import typing as t

from . import beneath

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
EMPTY = {hashlib.sha256().hexdigest(), hashlib.sha1(b"blob 0\0", usedforsecurity=False).hexdigest()}

_POINTER = b"version https://git-lfs"
_POINTER_MIN, _POINTER_MAX = 100, 1024
_HEADER_MAX = 100_000_000  # the format's own limit
# No file system compresses weights to a sixteenth. Below a gibibyte, hashing takes a second.
_MOST_DENSE, _LARGE = 16, 1 << 30
# Fits the second-level cache of a core: what is read is hashed before it leaves it.
BUFFER = 256 * 1024


class Flaw(t.NamedTuple):
    state: str
    reason: str


def holes(found: os.stat_result, kind: str) -> bool:
    """Whether much of the file was never written. A file system that compresses allocates less as well."""
    compresses = kind in ("btrfs", "zfs", "bcachefs", "f2fs", "erofs", "squashfs")
    return not compresses and found.st_size - found.st_blocks * 512 >= 65536


def is_mostly_holes(descriptor: int) -> bool:
    """Whether so little of a large file was ever written that it holds no model. A container makes one in no time, as
    large as the disk, and its reading would take a day.

    Where the file system knows no holes, its count of blocks may be of no worth either.
    """
    found = os.fstat(descriptor)
    if found.st_size < _LARGE or found.st_blocks * 512 * _MOST_DENSE >= found.st_size:
        return False
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < found.st_size
    except OSError:
        return False
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)


def header_flaw(root: str, path: str, name: str, size: int) -> Flaw | None:
    """What is wrong with the file `name`, as far as its beginning and its size tell. Raises OSError."""
    if name.endswith(WEIGHTS) and _POINTER_MIN <= size <= _POINTER_MAX:
        with beneath.open_file(root, path) as file:
            if beneath.read(file, len(_POINTER)) == _POINTER:
                return Flaw("lfs_pointers", "a git-lfs pointer instead of the file")
    if name.endswith(".safetensors"):
        return safetensors_flaw(root, path, size)
    if name == "config.json" or (name.endswith(".index.json") and "/" not in name):
        known = beneath.read_json(root, path)
        if not isinstance(known, dict):
            return Flaw("invalid_json", "not valid JSON" if known is None else "not a JSON object")
    return None


def safetensors_flaw(root: str, path: str, size: int) -> Flaw | None:
    """Whether the file is as long as its header says. Raises OSError."""
    with beneath.open_file(root, path) as file:
        begin = beneath.read(file, 8)
        if len(begin) < 8:
            return Flaw("truncated", f"{size} bytes are too few for a safetensors file")
        (length,) = struct.unpack("<Q", begin)
        if length > _HEADER_MAX:
            return Flaw("truncated", "not a safetensors file")
        if 8 + length > size:
            return Flaw("truncated", f"{size} bytes, and the header alone has {length}")
        header = beneath.read(file, length)
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in json.loads(header).items() if name != "__metadata__"]
        wanted = 8 + length + max([0, *ends])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return Flaw("truncated", "its header is not valid")
    return None if wanted == size else Flaw("truncated", f"{size} bytes instead of {wanted}")


@dataclasses.dataclass
class Job:
    root: str  # of the cache
    path: str
    etag: str
    owner: t.Any  # for the caller


@dataclasses.dataclass
class Result:
    job: Job
    size: int = 0
    matches: bool | None = None  # None: it could not be read
    reason: str = ""


def digest(descriptor: int, etag: str, buffer: bytearray) -> tuple[str, int]:
    """The hash of the kind that the name has, and the bytes read. Empty: it holds no model. Raises OSError."""
    view, size, disk = memoryview(buffer), os.fstat(descriptor).st_size, os.fstatvfs(descriptor)
    if size > disk.f_blocks * disk.f_frsize:  # holes, whose reading would take days
        raise OSError(errno.EFBIG, "is larger than its file system")
    if is_mostly_holes(descriptor):
        return "", 0
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    state = hashlib.sha256() if len(etag) == 64 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    total = 0
    while total <= size:  # a file that grows as fast as it is read has no end
        count = os.readv(descriptor, [view])
        if not count:
            break
        state.update(view[:count])
        total += count
    return state.hexdigest(), total


def hash_all(jobs: t.Iterable[Job], threads: int = 0) -> t.Iterator[Result]:
    """Results of the jobs, in the order in which they are done. A thread per core takes one job after the other.

    The jobs are asked for one at a time, and a few results wait at most: memory does not grow with their number.
    """
    source, lock = iter(jobs), threading.Lock()
    done: collections.deque[Result] = collections.deque()
    free, ready = threading.Semaphore(1024), threading.Semaphore(0)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        buffer = bytearray(BUFFER)
        try:
            while not stop.is_set():
                with lock:
                    job = next(source, None)
                if job is None:
                    return
                result = _result(job, buffer)
                free.acquire()
                done.append(result)
                ready.release()
        except BaseException as failure:  # it is raised where the results are read
            failures.append(failure)
        finally:
            ready.release()

    cores = threads or len(os.sched_getaffinity(0))
    workers = [threading.Thread(target=work, daemon=True) for _core in range(cores)]
    for worker in workers:
        worker.start()
    running = cores
    try:
        while running or done:
            ready.acquire()
            if done:
                yield done.popleft()
                free.release()
            else:
                running -= 1
    finally:
        stop.set()
        for _core in range(cores):
            free.release()
        for worker in workers:
            worker.join()
    if failures:
        raise failures[0]


def _result(job: Job, buffer: bytearray) -> Result:
    try:
        with beneath.open_file(job.root, job.path) as descriptor:
            found, size = digest(descriptor, job.etag, buffer)
    except OSError as error:
        return Result(job, reason=error.strerror or str(error))
    return Result(job, size, found == job.etag)
