# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who works on a file of the cache: locks and descriptors tell, time and size do not."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import re
import resource
import typing as t

from . import beneath

# flock there either always succeeds, or does not reach the other hosts, whose open files cannot be seen either.
_NETWORK_FILESYSTEMS = ("nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "9p", "afs", "beegfs", "ceph", "glusterfs")
DEAD = "nobody downloads it: not locked, and no process has it open"

_SECRETS = (
    (re.compile(r"hf_[A-Za-z0-9]{8,}"), "hf_***"),
    (re.compile(r"(?i)((?:token|key|password|secret)[\w-]*=)\S+"), r"\1***"),
)
Inode = tuple[int, int]


@dataclasses.dataclass
class Candidate:
    """A file that might go. `live` is None when that cannot be told."""

    path: str
    stat: os.stat_result
    locks: list[str]
    live: bool | None = None
    reason: str = ""
    holder_pid: int | None = None
    holder_command: str | None = None

    @property
    def inode(self) -> Inode:
        return self.stat.st_dev, self.stat.st_ino

    @property
    def allocated(self) -> int:
        return self.stat.st_blocks * 512


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


def filesystem_of(path: str) -> str:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return filesystem_type(path, file.read())


def is_network(kind: str) -> bool:
    return kind in _NETWORK_FILESYSTEMS or kind.startswith("fuse.")


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


def _processes() -> t.Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def _descriptors(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/fd/{descriptor}" for descriptor in os.listdir(f"/proc/{pid}/fd")]
    except PermissionError:
        raise
    except OSError:  # it ended meanwhile
        return []


def open_files(wanted: t.Iterable[Inode], names: t.Iterable[str] = ()) -> tuple[dict[Inode, int], bool]:
    """Processes, of any container, that have the (device, inode) open; and whether every process could be looked at."""
    # The name first: stat of somebody else's file on a dead network mount would hang. It is the same in a container.
    wanted, endings = set(wanted), (".incomplete", ".lock", *(f"/{name}" for name in names))
    holders: dict[Inode, int] = {}
    all_seen = True
    for pid in _processes():
        try:
            links = _descriptors(pid)
        except PermissionError:
            all_seen = False
            continue
        for link in links:
            try:
                # A file that was given another name may be shown as deleted.
                if os.readlink(link).removesuffix(" (deleted)").endswith(endings):
                    found = os.stat(link)
                    if (found.st_dev, found.st_ino) in wanted:
                        holders[found.st_dev, found.st_ino] = pid
            except OSError:  # closed meanwhile
                continue
    return holders, all_seen


def user_of(names: set[str]) -> int | None:
    """A process that has a file of one of these names open or mapped: a server that reads a model, say."""
    for pid in _processes():
        used = []
        with contextlib.suppress(OSError):
            for link in _descriptors(pid):
                with contextlib.suppress(OSError):
                    used.append(os.readlink(link))
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
            used += [line.rstrip("\n").removesuffix(" (deleted)") for line in maps]
        if not names.isdisjoint(path.rpartition("/")[2] for path in used):
            return pid
    return None


@dataclasses.dataclass
class _Lock:
    busy: bool | None = False  # None: cannot be told
    reason: str = ""
    inode: Inode | None = None


def _take_lock(root: str, path: str, exclusive: bool, stack: contextlib.ExitStack) -> _Lock:
    """Lock an existing lock file until the stack is closed. One that is not there is never made."""
    if os.path.islink(path):
        return _Lock(None, f"the lock {path} cannot be opened: it is a link")
    try:
        with beneath.find(root, path) as entry:
            descriptor = beneath.open_at(entry.folder, entry.name)
    except (FileNotFoundError, NotADirectoryError):
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


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


@contextlib.contextmanager
def judged(candidates: t.Sequence[Candidate], path: str, exclusive: bool, idle: bool = False) -> t.Iterator[None]:
    """Say of each candidate whether it is live; hold the locks of the dead ones meanwhile, so that they stay dead.

    A shared lock is enough to look, and two who look do not take each other for a download.
    Time and size are no signs of life: a download writes 10 MiB at a time and can rest for long.
    `idle`: the operator knows that no other host uses the cache. What can be seen from here counts all the same.
    """
    if not candidates:
        yield
        return
    with contextlib.ExitStack() as stack:
        names = dict.fromkeys(lock for candidate in candidates for lock in candidate.locks)
        _allow_open_files(len(names))
        locks = {lock: _take_lock(path, lock, exclusive, stack) for lock in names}
        wanted = {candidate.inode for candidate in candidates}
        wanted |= {lock.inode for lock in locks.values() if lock.inode}
        holders, all_seen = open_files(wanted, {os.path.basename(candidate.path) for candidate in candidates})
        kind = filesystem_of(path)
        for candidate in candidates:
            mine = [locks[lock] for lock in candidate.locks]
            busy = [lock for lock in mine if lock.busy]
            unclear = [lock for lock in mine if lock.busy is None]
            candidate.holder_pid = holders.get(candidate.inode)
            if candidate.holder_pid is not None:
                candidate.live, candidate.reason = True, "a process has it open"
            elif busy:
                candidate.live, candidate.reason = True, busy[0].reason
                candidate.holder_pid = next((holders[lock.inode] for lock in busy if lock.inode in holders), None)
            elif is_network(kind) and not idle:
                candidate.live, candidate.reason = None, f"flock is not reliable on {kind}"
            elif unclear:
                candidate.live, candidate.reason = None, unclear[0].reason
            elif not all_seen:
                candidate.live = None
                candidate.reason = "not all processes can be seen; run this task with become: true"
            else:
                candidate.live, candidate.reason = False, DEAD
            candidate.holder_command = command_of(candidate.holder_pid) if candidate.holder_pid else None
        yield
