# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of the collection on a host: ROOT/.code/VERSION are folders named after their content, ROOT/NAME links to them.

Each user of the code has a link. A version is never edited, so that what one user installs or removes does not affect
another one. A version without a link is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import typing as t

# Path below the folder of a version -> SHA-256 of the content.
Hashes = t.Mapping[str, str]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def version_of(files: Hashes) -> str:
    return digest(json.dumps(dict(files), sort_keys=True).encode())[:12]


def hashes_of(folder: str) -> dict[str, str]:
    """What is in a folder; links and other things that are no files have the hash of nothing that could be wanted."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(parent, name)))]:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = "" if os.path.islink(path) else _hash(path)
    return found


def _hash(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return digest(file.read())
    except OSError:
        return ""


class Store:
    def __init__(self, root: str) -> None:
        self.root = root
        self.code = os.path.join(root, ".code")

    def used(self, name: str) -> str | None:
        """The version that NAME uses; None if it uses none."""
        try:
            return os.path.basename(os.readlink(os.path.join(self.root, name)))
        except OSError:
            return None

    def is_right(self, name: str, files: Hashes) -> bool:
        version = version_of(files)
        return self.used(name) == version and hashes_of(os.path.join(self.code, version)) == dict(files)

    def install(self, name: str, contents: t.Mapping[str, str]) -> None:
        """Puts a whole version in place, then points to it: a program that starts meanwhile gets the old or the new."""
        raw = {path: text.encode() for path, text in contents.items()}
        files = {path: digest(content) for path, content in raw.items()}
        version = version_of(files)
        with self._locked():
            os.makedirs(self.code, mode=0o755, exist_ok=True)
            if hashes_of(os.path.join(self.code, version)) != files:
                self._add(version, raw)
            new = os.path.join(self.root, f".{name}.new")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            os.symlink(f".code/{version}", new)
            os.replace(new, os.path.join(self.root, name))
            self._sweep()

    def remove(self, name: str) -> None:
        if not os.path.isdir(self.root):
            return
        with self._locked():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.root, name))
            self._sweep()

    def _add(self, version: str, contents: t.Mapping[str, bytes]) -> None:
        new = tempfile.mkdtemp(dir=self.code)
        os.chmod(new, 0o755)
        for path, content in contents.items():
            place = os.path.join(new, path)
            os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
            with open(place, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # a unit that starts after a power cut needs it
            os.chmod(place, 0o644)
        folder = os.path.join(self.code, version)
        if os.path.lexists(folder):  # somebody has changed it
            os.replace(folder, tempfile.mkdtemp(dir=self.code))
        os.replace(new, folder)

    def _sweep(self) -> None:
        names = [name for name in os.listdir(self.root) if not name.startswith(".")]
        used = {self.used(name) for name in names}
        for version in os.listdir(self.code) if os.path.isdir(self.code) else []:
            if version not in used:
                shutil.rmtree(os.path.join(self.code, version), ignore_errors=True)
        if not names:
            shutil.rmtree(self.root, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> t.Iterator[None]:
        """One run at a time: services of one host are deployed independently of one another."""
        while True:
            os.makedirs(self.root, mode=0o755, exist_ok=True)
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.isdir(self.root) and os.path.samestat(os.fstat(descriptor), os.stat(self.root)):
                    yield
                    return
            finally:  # or another run has removed it meanwhile
                os.close(descriptor)
