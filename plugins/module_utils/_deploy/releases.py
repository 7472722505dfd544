# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of a service: folders below HOME/releases.

A release holds compose.yaml, .env and release.json, which says what a program on the host has to know of it. A file
``good`` in it holds the time, in seconds since 1970, and the number of the moment at which it was last proven. Without
compose.yaml it cannot be started, and counts as never proven. A file ``started`` in it is from the last switch to it.
HOME/current and HOME/good are links.

Releases are in the order of these numbers: staging or proving one takes the next number, under the lock of the service.
The times are for people: the clock of a host that starts without a network may be years off.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import typing as t
from dataclasses import dataclass, field

from .._host.port_holder import noted, served_beside
from .._host.services import RELEASE as NAME
from .._outside.values import mapping, parse_json, real, sequence, whole
from .secrets import is_replaced, other_secrets

# In HOME: which other server was stopped to make room for a release that is not proven yet.
TAKEN_OVER = "taken_over.json"
# In HOME: those that were stopped for a release that was then proven. The end of the service can start them again.
REPLACED = "replaced.json"


class Moment(t.NamedTuple):
    """When something was done. Those without a number are of earlier versions of this collection: in order of time."""

    number: int
    time: float  # seconds since 1970


@dataclass(frozen=True)
class Release:
    id: str
    staged: Moment
    good: Moment | None  # when it was last proven; None if it never was
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)  # release.json
    written: float | None = None  # its release.json, in seconds since 1970; its folder is as new as its last file
    started: float | None = None  # when it was last switched to before it was proven, in seconds since 1970
    remedied: bool = False  # it failed, and its remedy.json says what runs in its place

    @property
    def image(self) -> str | None:
        image = self.facts.get("image")
        return image if isinstance(image, str) and image else None


def read_json(path: str) -> dict[str, t.Any]:
    """The mapping in a file; an empty one where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return mapping(parse_json(file.read()))
    except (OSError, ValueError):
        return {}


def read(home: str) -> list[Release]:
    """All releases, as in_order() sorts them."""
    folder = os.path.join(home, "releases")
    found = []
    for name in names_in(folder):
        path = os.path.join(folder, name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:  # meanwhile
            continue
        if NAME.fullmatch(name) and stat.S_ISDIR(status.st_mode):
            good, facts = _proven(path), read_json(os.path.join(path, "release.json"))
            remedied = os.path.exists(os.path.join(path, "remedy.json"))
            staged = Moment(_number(facts.get("number")), status.st_mtime)
            times = {name: _written(path, name) for name in ("release.json", "started")}
            found.append(Release(name, staged, good, facts, times["release.json"], times["started"], remedied))
    return in_order(found)


def names_in(folder: str) -> list[str]:
    """What is in a folder; nothing if there is none. One that may not be read is an error."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def in_order(releases: t.Iterable[Release]) -> list[Release]:
    """The one that was proven last first, those that never were at the end."""
    return sorted(releases, key=lambda release: (release.good or _NEVER, release.staged, release.id), reverse=True)


def next_number(releases: t.Iterable[Release]) -> int:
    """For what is staged or proven next."""
    numbers = [moment.number for release in releases for moment in (release.staged, release.good or _NEVER)]
    return max(numbers, default=0) + 1


def mark_of(moment: Moment) -> str:
    """The content of the file ``good``."""
    return f"{moment.time:.3f} {moment.number}\n"


_NEVER = Moment(-1, 0.0)
_LARGEST_NUMBER = 10**9


def _number(value: t.Any) -> int:
    number = whole(value) or 0
    return number if 0 < number < _LARGEST_NUMBER else 0


def _proven(release: str) -> Moment | None:
    """None also for one that lost what would be started: it is nothing to go back to."""
    if not os.path.isfile(os.path.join(release, "compose.yaml")):
        return None
    try:
        with open(os.path.join(release, "good"), encoding="ascii") as file:
            words = [*file.read(100).split(), "", ""]
    except (OSError, ValueError):
        return None
    time = real(words[0])
    return Moment(_number(words[1]), time) if time is not None and time > 0 else None


def _written(release: str, name: str) -> float | None:
    try:
        return os.lstat(os.path.join(release, name)).st_mtime
    except FileNotFoundError:
        return None


def linked(home: str, link: str) -> str | None:
    """The release that HOME/LINK leads to; None if there is no such link, or it leads to anything else."""
    path = os.path.join(home, link)
    folder, name = os.path.split(os.path.realpath(path))
    if not os.path.islink(path) or folder != os.path.realpath(os.path.join(home, "releases")):
        return None
    return name if NAME.fullmatch(name) and os.path.isdir(path) else None


def describe(home: str) -> dict[str, t.Any]:
    """What the module vllm_releases_info returns."""
    releases, current = read(home), linked(home, "current")
    note = read_json(os.path.join(home, TAKEN_OVER))
    holders = noted(note)
    return {
        "current": current,
        "good": linked(home, "good"),
        "previous": next((one.id for one in releases if one.good is not None and one.id != current), None),
        "next_number": next_number(releases),
        "releases": [
            {
                "id": one.id,
                "good": one.good.time if one.good else None,
                "staged": one.written,
                "started": one.started,
                "facts": dict(one.facts),
                "other_secrets": other_secrets(home, one.id, current) if current else [],
                "replaced_secrets": is_replaced(home, one.id),
            }
            for one in releases
        ],
        "taken_over": {"holders": holders, "beside": served_beside(note)} if holders else {},
    }


def outdated(releases: t.Sequence[Release], keep: int, needed: t.Collection[str | None]) -> list[Release]:
    """Releases that nobody needs: good ones beyond the last KEEP; and what never was good and is older than those.

    While there are fewer good ones, those that failed may not pile up: the last KEEP that never were good stay, and
    what is younger than the last good one. What is staged for later is young, and stays.
    What vllm_auto_remedy has found for a release that failed is looked up there: of those the last KEEP stay.
    RELEASES as in_order() sorts them. NEEDED stay whatever their age.
    """
    good = [release for release in releases if release.good is not None]
    never = [release for release in releases if release.good is None and not release.remedied]
    remedied = [release for release in releases if release.good is None and release.remedied]
    proven = [release.good or _NEVER for release in good]
    old = good[keep:] + [release for release in never[keep:] if proven and release.staged < proven[0]]
    if len(good) >= keep:
        old += [release for release in never[:keep] if release.staged < proven[keep - 1]]
    return [release for release in old + remedied[keep:] if release.id not in needed]


def unused_images(gone: t.Iterable[Release], kept: t.Iterable[Release]) -> list[str]:
    """Images of releases that went, without those that another release names."""
    needed = {release.image for release in kept}
    return sorted({release.image for release in gone if release.image} - needed)


def image_digests(home: str) -> dict[str, list[str]]:
    """The digests that releases of HOME have recorded for an image, by its ID, which says all of its content."""
    folder = os.path.join(home, "releases")
    found = {}
    for release in names_in(folder):
        facts = read_json(os.path.join(folder, release, "image.json"))
        digests = [digest for digest in sequence(facts.get("digests")) if isinstance(digest, str)]
        if digests and isinstance(facts.get("id"), str):
            found[facts["id"]] = digests
    return found


def other_homes(home: str, units: str) -> list[str]:
    """Folders of the other services on the host: those of systemd units, and those beside HOME, perhaps only staged."""
    parent = os.path.dirname(os.path.realpath(home))
    homes = {os.path.realpath(os.path.join(parent, name)) for name in names_in(parent)}
    for name in names_in(units):
        if not name.endswith(".service"):
            continue
        with contextlib.suppress(OSError), open(os.path.join(units, name), encoding="utf-8", errors="replace") as file:
            found = re.search(r"^WorkingDirectory=(/.*)/current$", file.read(), re.MULTILINE)
            if found:
                homes.add(os.path.realpath(found[1]))
    return sorted(homes - {os.path.realpath(home)})


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Puts TEXT in the place of PATH at once and for good: nobody ever finds half of it, not even after a power cut."""

    def make(new: str) -> None:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)  # whatever the umask is
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    replace(path, make)


def replace(path: str, make: t.Callable[[str], None]) -> None:
    """Puts what MAKE makes in the place of PATH at once."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    make(new)
    os.replace(new, path)
