# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store that repositories share their blobs in."""

from __future__ import annotations

import contextlib
import os
import typing as t

from . import beneath
from .content import Broken, Totals
from .layout import PAYLOAD, Look, is_store, tree_roots


def payloads(store: str, look: Look) -> t.Iterator[os.DirEntry[str]]:
    for prefix in look.entries(store):
        if len(prefix.name) == 2 and prefix.is_dir(follow_symlinks=False):
            for entry in look.entries(prefix.path):
                if PAYLOAD.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry


def references(root: str, payload: str) -> set[str] | None:
    """Blobs of repositories that lead to the payload. None when the client's list is not there: then nobody knows."""
    try:
        lines = beneath.read_text(root, f"{payload}.refs", beneath.JSON_MAX).splitlines()
    except (OSError, ValueError):
        return None
    found = set()
    for line in lines:
        blob = os.path.normpath(os.path.join(root, line))
        if blob.startswith(root + os.sep) and _target(blob) == payload:
            found.add(blob)
    return found


def _target(blob: str) -> str | None:
    try:
        return os.path.normpath(os.path.join(os.path.dirname(blob), os.readlink(blob)))
    except (OSError, ValueError):  # the path is out of a list that somebody else may have written
        return None


def count_stores(path: str, totals: Totals, look: Look, waste: bool) -> list[dict[str, t.Any]]:
    """Add what is in the stores to the totals; with `waste`, name what no repository has any more."""
    unused = []
    for root in tree_roots(path):
        store = os.path.join(root, "blobs")
        for entry in payloads(store, look) if is_store(store) else ():
            with contextlib.suppress(OSError):
                size = entry.stat(follow_symlinks=False)
                totals.add(size)
                if waste and references(root, entry.path) == set():
                    unused.append(Broken("unreferenced", entry.path, "no repository has it", size).describe(None))
    return unused
