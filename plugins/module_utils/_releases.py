# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of a service: folders below HOME/releases. Private to the collection.

A release holds compose.yaml, .env and release.json, which says what a program on the host has to know of it. A file
``good`` in it holds the time, in seconds since 1970, at which it was last proven. HOME/current and HOME/good are links.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass, field

NAME = re.compile(r"[0-9a-f]{12}$")
# In HOME: which other server was stopped to make room for a release that is not proven yet.
TAKEN_OVER = "taken_over.json"


@dataclass(frozen=True)
class Release:
    id: str
    staged: float  # seconds since 1970
    good: float | None  # the same: when it was last proven; None if it never was
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)  # release.json

    @property
    def image(self) -> str | None:
        return self.facts.get("image")


def read_json(path: str) -> dict[str, t.Any]:
    """The mapping in a file; an empty one where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read(home: str) -> list[Release]:
    """All releases, the one that was proven last first, those that never were at the end."""
    folder = os.path.join(home, "releases")
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        if not NAME.match(name) or os.path.islink(path):
            continue
        try:
            staged = os.stat(path).st_mtime
        except OSError:  # gone meanwhile
            continue
        found.append(Release(name, staged, _time(os.path.join(path, "good")), read_json(f"{path}/release.json")))
    return sorted(found, key=lambda release: (release.good or 0, release.staged, release.id), reverse=True)


def _time(path: str) -> float | None:
    try:
        with open(path, encoding="ascii") as file:
            return float(file.read())
    except (OSError, ValueError):
        return None


def linked(home: str, link: str) -> str | None:
    """The release that HOME/LINK leads to; None if the link or the release is not there."""
    path = os.path.join(home, link)
    if not os.path.islink(path) or not os.path.isdir(path):
        return None
    return os.path.basename(os.readlink(path).rstrip("/"))


def outdated(releases: t.Sequence[Release], keep: int, needed: t.Collection[str | None]) -> list[Release]:
    """Releases that nobody needs any more: good ones beyond the last KEEP, and what is older than those and never was good.

    RELEASES as read() sorts them. NEEDED stay whatever their age. A release that is staged for later is young, and stays.
    """
    good = [release for release in releases if release.good is not None]
    kept = good[:keep]
    if len(kept) < keep:
        return []
    oldest = min(release.good or 0 for release in kept)
    old = good[keep:] + [release for release in releases if release.good is None and release.staged < oldest]
    return [release for release in old if release.id not in needed]


def unused_images(gone: t.Iterable[Release], kept: t.Iterable[Release]) -> list[str]:
    """Images of releases that went, without those that another release names."""
    needed = {release.image for release in kept}
    return sorted({release.image for release in gone if release.image} - needed)


def homes_of_units(folder: str) -> list[str]:
    """Folders of all services of this collection on the host, by their systemd units."""
    homes = []
    for name in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
        if not name.endswith(".service"):
            continue
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        found = re.search(r"^WorkingDirectory=(/.*)/current$", text, re.MULTILINE)
        if found:
            homes.append(found[1])
    return homes
