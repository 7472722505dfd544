# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of vllm_files, read on the controller: where they are, where they go, and what their content's hash is."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import typing as t

from .text import show

# Each is one mount. All of them are in every release that the host keeps.
MOST_FILES = 200
MOST_BYTES = 512 << 20
INSTEAD = "copy it to the host, and mount it there with vllm_mounts"

_NAME = re.compile(r"[A-Za-z0-9._@+-]+")
_VAULT = b"$ANSIBLE_VAULT;"
_PIECE = 1 << 20


class OwnerFileError(ValueError):
    """One line that says which file cannot be used, and why. It never holds content."""


class OwnerFile(t.NamedTuple):
    number: int  # of its item in vllm_files
    path: str  # on the controller; empty where the item has the content itself
    target: str  # in the container
    size: int
    digest: str  # SHA-256 of the content


def read_owner_files(items: t.Sequence[t.Mapping[str, t.Any]]) -> list[OwnerFile]:
    """All files, a folder as the files in it. Raises OwnerFileError.

    ITEMS is vllm_files as the rules for variables accept it: src or content, and target.
    """
    found: list[OwnerFile] = []
    for number, item in enumerate(items):
        for path, target in _places(number, item):
            if len(found) == MOST_FILES:
                raise OwnerFileError(f"vllm_files: they are more than {MOST_FILES} files; use fewer, or {INSTEAD}")
            rest = MOST_BYTES - sum(file.size for file in found)
            found.append(_read(number, item, path, target, rest))
    return found


def source_of(item: t.Mapping[str, t.Any]) -> str:
    """Where the file or folder is on the controller. A relative path begins where the playbook was started."""
    return os.path.abspath(os.path.expanduser(str(item["src"])))


def _places(number: int, item: t.Mapping[str, t.Any]) -> list[tuple[str, str]]:
    """Path on the controller and target of each file of an item."""
    target = str(item["target"]).rstrip("/")
    if "content" in item:
        return [("", target)]
    top = source_of(item)
    if not os.path.isdir(top):
        return [(top, target)]
    found = []
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not _is_left_out(name))
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise _error(number, os.path.join(folder, name), "is a link to a folder; use the folder itself")
        for name in sorted(names):
            path = os.path.join(folder, name)
            below = os.path.relpath(path, top)
            if _is_left_out(name):
                continue
            if not all(map(_NAME.fullmatch, below.split(os.sep))):
                raise _error(number, path, "has a name that is not allowed; use letters, digits and . _ @ + -")
            found.append((path, f"{target}/{below}"))
            if len(found) > MOST_FILES:
                raise _error(number, top, f"holds more than {MOST_FILES} files; use fewer, or {INSTEAD}")
    if not found:
        raise _error(number, top, "holds no file; put one into it, or remove the item")
    return found


def _is_left_out(name: str) -> bool:
    """What tools leave in a folder: .git, .cache, bytecode."""
    return name.startswith(".") or name == "__pycache__"


def _read(number: int, item: t.Mapping[str, t.Any], path: str, target: str, rest: int) -> OwnerFile:
    if not path:
        content = str(item["content"]).encode("utf-8", "surrogatepass")
        if len(content) > rest:
            raise OwnerFileError(f"vllm_files[{number}].content: {_too_large()}")
        return OwnerFile(number, "", target, len(content), hashlib.sha256(content).hexdigest())
    try:
        size, digest = _hash(number, path, rest)
    except FileNotFoundError:
        raise _error(number, path, "does not exist on the controller; correct the path") from None
    except OSError as error:
        raise _error(number, path, f"cannot be read ({error.strerror}); correct its permissions") from error
    return OwnerFile(number, path, target, size, digest)


def _hash(number: int, path: str, rest: int) -> tuple[int, str]:
    # a pipe would have no end, so the file is looked at before it is opened
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise _error(number, path, "is neither a file nor a folder; use one of them")
    state, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            if not size and piece.startswith(_VAULT):
                how = "content: \"{{ lookup('ansible.builtin.file', PATH) }}\" instead of src"
                raise _error(number, path, f"is encrypted by ansible-vault; use {how}")
            size += len(piece)
            if size > rest:
                raise _error(number, path, _too_large())
            state.update(piece)
    return size, state.hexdigest()


def _too_large() -> str:
    return f"with it vllm_files has more than {MOST_BYTES >> 20} MiB; {INSTEAD}"


def _error(number: int, path: str, why: str) -> OwnerFileError:
    return OwnerFileError(f"vllm_files[{number}].src: {show(path)} {why}")
