# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only way in which files of a model cache are opened: beneath its root, as with RESOLVE_BENEATH of openat2(2).

Others may write to a cache: the container that serves from it, members of its group. So a path is walked step by step
with descriptors, and the kernel follows no link. A link is resolved here, by its text, and must stay below the root.
Only regular files are opened: opening a device is an act, and a pipe has no end. What is parsed has a limit.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import typing as t

# Of a list of files, an index, a config.json.
JSON_MAX = 64 << 20
# Of a ref, or of a client's note on a file.
REF_MAX = 4096

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LINKS = 8  # a snapshot's link, and that of a blob into the shared store


class Entry(t.NamedTuple):
    """What a path leads to."""

    folder: int  # descriptor
    name: str
    path: str  # below the root, without links
    stat: os.stat_result


@contextlib.contextmanager
def open_folder(root: str, folder: str, make: bool = False) -> t.Iterator[int]:
    """Descriptor of a folder at or below the root, on a way without links."""
    descriptor = os.open(root, FOLDER)
    try:
        for name in _steps(root, folder):
            if name == "..":
                raise NotADirectoryError(errno.ENOTDIR, f"is not below {root}", folder)
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
            below = os.open(name, FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def is_folder(root: str, folder: str) -> bool:
    try:
        with open_folder(root, folder):
            return True
    except OSError:
        return False


def _steps(root: str, path: str) -> list[str]:
    relative = os.path.relpath(path, root)
    return [] if relative == "." else relative.split(os.sep)


@contextlib.contextmanager
def find(root: str, path: str) -> t.Iterator[Entry]:
    """What the path leads to, links resolved by their text. Raises OSError, also for a link out of the root."""
    steps, links = _steps(root, path)[::-1], 0
    names: list[str] = []
    with contextlib.ExitStack() as stack:
        folders = [_opened(stack, root, None)]
        while steps:
            name = steps.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if not names:
                    raise OSError(errno.EXDEV, "leads out of the cache", path)
                names.pop()
                folders.pop()
                continue
            found = os.stat(name, dir_fd=folders[-1], follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(name, dir_fd=folders[-1])
                if os.path.isabs(target):
                    target, names, folders = _below(root, target, path), [], folders[:1]
                steps += target.split(os.sep)[::-1]
            elif any(step not in ("", ".") for step in steps):
                folders.append(_opened(stack, name, folders[-1]))
                names.append(name)
            else:
                yield Entry(folders[-1], name, os.path.join(*names, name), found)
                return
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def _opened(stack: contextlib.ExitStack, name: str, folder: int | None) -> int:
    descriptor = os.open(name, FOLDER, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor


def _below(root: str, target: str, path: str) -> str:
    for top in (root, os.path.realpath(root)):
        if target.startswith(top.rstrip(os.sep) + os.sep):
            return target[len(top) :]
    raise OSError(errno.EXDEV, "leads out of the cache", path)


def regular(root: str, path: str) -> tuple[os.stat_result, str] | None:
    """Status of the regular file that the path leads to, and its path below the root; None for anything else."""
    try:
        with find(root, path) as entry:
            return (entry.stat, entry.path) if stat.S_ISREG(entry.stat.st_mode) else None
    except (OSError, ValueError):  # the path may be out of a list that somebody else wrote
        return None


@contextlib.contextmanager
def open_file(root: str, path: str) -> t.Iterator[int]:
    """Descriptor of the regular file that the path leads to, for reading. Raises OSError."""
    with find(root, path) as entry:
        descriptor = open_at(entry.folder, entry.name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_at(folder: int, name: str, flags: int = _READ) -> int:
    """Open a regular file of an opened folder; nothing else is opened, not for a moment. Raises OSError."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", name)
        return os.open(f"/proc/self/fd/{handle}", flags)
    finally:
        os.close(handle)


def read_text(root: str, path: str, limit: int) -> str:
    """The content of a file of at most so many bytes. Raises OSError and ValueError."""
    with open_file(root, path) as descriptor:
        content = read(descriptor, limit + 1)
        if len(content) > limit:
            raise ValueError(f"{path} is larger than {limit} bytes")
        return content.decode("utf-8", "surrogateescape")


def read(descriptor: int, size: int) -> bytes:
    """So many bytes, or fewer at the end of the file."""
    content = bytearray()
    while len(content) < size:
        part = os.read(descriptor, min(1 << 20, size - len(content)))
        if not part:
            break
        content += part
    return bytes(content)


def read_json(root: str, path: str, limit: int = JSON_MAX) -> t.Any:
    """The content, None where there is none, or none that is valid."""
    try:
        return json.loads(read_text(root, path, limit))
    except (OSError, ValueError, RecursionError):
        return None
