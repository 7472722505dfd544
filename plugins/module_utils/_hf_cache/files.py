# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes below a root that cannot be led out of it: no link is followed on the way."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t
import uuid

from .beneath import FOLDER, open_at, open_folder


def creation_mask(folder: str) -> int:
    """The umask with which new files get the folder's own rights for group and others."""
    try:
        return ~stat.S_IMODE(os.stat(folder).st_mode) & 0o077
    except OSError:
        return 0o022


@contextlib.contextmanager
def made_folder(root: str, folder: str) -> t.Iterator[int]:
    """The same for a folder that is made if it is not there; the message is for the user."""
    os.makedirs(root, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(open_folder(root, folder, make=True))
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            what = f"it, or a folder on the way to it, is a file, or a link that leads out of {root}"
            raise NotADirectoryError(errno.ENOTDIR, what, folder) from None
        yield descriptor


@contextlib.contextmanager
def private_folder(root: str, folder: str) -> t.Iterator[int]:
    """The same for a folder that only its owner may enter, who is the user of this process."""
    with made_folder(root, folder) as descriptor:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "belongs to somebody else; remove it", folder)
        # what is made in it gets the group of the cache, where that is wanted
        os.fchmod(descriptor, 0o700 | os.fstat(descriptor).st_mode & stat.S_ISGID)
        yield descriptor


def make_file(folder: int, name: str, mode: int) -> int:
    """Descriptor of a regular file for reading and writing, a new one or the one that is there. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
    return open_at(folder, name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def write_text(root: str, path: str, text: str) -> None:
    """A small file below the root: a reader sees all of it or nothing. Its folder says what group and others may."""
    with made_folder(root, os.path.dirname(path)) as folder:
        name = f"tmp{uuid.uuid4().hex[:8]}.tmp"  # as clients call theirs
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            os.fchmod(handle, 0o666 & stat.S_IMODE(os.fstat(folder).st_mode) | 0o600)
        os.replace(name, os.path.basename(path), src_dir_fd=folder, dst_dir_fd=folder)


def same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def freed_by(found: os.stat_result) -> int:
    """What the disk gets back when this name goes: nothing while the file has another name."""
    return found.st_blocks * 512 if found.st_nlink == 1 else 0


def remove(root: str, path: str, judged: os.stat_result, check_mode: bool) -> int | None:
    """Remove the very file that was judged. Returns the bytes freed, None when it is not there any more."""
    try:
        with open_folder(root, os.path.dirname(path)) as folder:
            name = os.path.basename(path)
            now = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not same(now, judged) or stat.S_ISDIR(now.st_mode):
                return None
            if not check_mode:
                os.unlink(name, dir_fd=folder)
            return freed_by(now)
    except (FileNotFoundError, NotADirectoryError):
        return None


def rename(root: str, path: str, name: str, judged: os.stat_result) -> bool:
    """Give the very file that was judged another name in its folder; never over an existing one."""
    try:
        with open_folder(root, os.path.dirname(path)) as folder:
            old = os.path.basename(path)
            if not same(os.stat(old, dir_fd=folder, follow_symlinks=False), judged):
                return False
            os.link(old, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            os.unlink(old, dir_fd=folder)
            return True
    except (FileNotFoundError, NotADirectoryError, FileExistsError):
        return False


def remove_tree(root: str, folder: str) -> int:
    """Remove a folder with all that is in it, links as links. Returns the bytes freed."""
    parent, name = os.path.split(folder)
    with open_folder(root, parent) as descriptor:
        try:
            return _remove_below(descriptor, name)
        except RecursionError:
            raise OSError(errno.ELOOP, "folders are nested too deeply") from None


def _remove_below(parent: int, name: str) -> int:
    freed = 0
    descriptor = os.open(name, FOLDER, dir_fd=parent)
    try:
        # Refs go first: from then on nobody who is offline finds the half that is left.
        for entry in sorted(os.listdir(descriptor), key=lambda entry: (entry != "refs", entry != "snapshots", entry)):
            found = os.stat(entry, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                freed += _remove_below(descriptor, entry)
            else:
                os.unlink(entry, dir_fd=descriptor)
                freed += freed_by(found)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)
    return freed
