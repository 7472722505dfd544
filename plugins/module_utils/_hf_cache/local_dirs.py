# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain folders that were the target of a download."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from . import beneath, verify
from .completeness import completeness
from .content import Asked, Broken, Content, holes_of, lstat
from .layout import Look, download_folder
from .partials import local_partials


def local_files(folder: str, look: Look) -> t.Iterator[tuple[str, str]]:
    """Files that a client put into the folder, and their ETags."""
    top = download_folder(folder)
    for entry in look.files(top):
        if entry.name.endswith(".metadata"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                lines = beneath.read_text(folder, entry.path, beneath.REF_MAX).splitlines()
                yield os.path.relpath(entry.path, top)[: -len(".metadata")], lines[1].strip()


def scan_local(folder: str, asked: Asked, look: Look) -> Content:
    content = Content(folder, partials=local_partials(folder, look), complete=True)
    weights = False
    for name, etag in local_files(folder, look):
        path = os.path.join(folder, name)
        found = lstat(path)
        if found is None or not stat.S_ISREG(found.st_mode) or leaves(folder, name):
            continue
        content.count(found)
        asked.totals.add(found)
        weights |= name.endswith(verify.WEIGHTS)
        flaw = None
        if found.st_size == 0 and etag not in verify.EMPTY:
            flaw = verify.Flaw("empty", "empty")
        elif verify.holes(found, asked.kind):
            content.broken.append(Broken("sparse", path, holes_of(found), found, name, etag))
        if flaw is None and asked.headers:
            try:
                flaw = verify.header_flaw(folder, path, name, found.st_size)
            except OSError as error:
                look.skip(path, error)
        if flaw:
            content.broken.append(Broken(flaw.state, path, flaw.reason, found, name, etag))
            content.lacks(f"{name} ({flaw.reason})")
    completeness(content, {}, weights)
    for partial in content.partials:
        content.lacks(f"{os.path.relpath(partial.path, download_folder(folder))} (partial)")
    return content


def leaves(folder: str, name: str) -> bool:
    """Whether a link on the way leads out of the folder."""
    parent = os.path.dirname(os.path.join(folder, name))
    return os.path.realpath(parent) != os.path.normpath(os.path.join(os.path.realpath(folder), os.path.dirname(name)))
