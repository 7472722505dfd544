# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of releases: HOME/releases/RELEASE/.env, which Docker Compose reads, as NAME='value'.

A release holds what it needs to be started, and no more: compose.yaml says which of them that is. When a release with
a new value is proven, the others get that value: the old one may have been revoked, and a rollback must not bring it
back.
"""

from __future__ import annotations

import os
import re

# What a file begins with whose values are those of another release.
REPLACED = "# The values are those of release "
EMPTY = "''"
_ASSIGNED = re.compile(r"^(\w+)=(.*)$", re.ASCII)
_LONGEST = 1024 * 1024

Values = dict[str, str]


def other_secrets(home: str, release: str, current: str) -> list[str]:
    """The names of the secrets of which a release has a value that the current one has not. It may be revoked."""
    first, second = (_needed_values(home, name) for name in (release, current))
    return sorted(name for name, value in first.items() if value != second.get(name))


def is_replaced(home: str, release: str) -> bool:
    """Whether the values are no longer those that the release was made with."""
    return _read(env_file(home, release)).startswith(REPLACED)


def values_of(home: str, release: str) -> Values:
    return _values(_read(env_file(home, release)))


def settled(home: str, release: str, source: str | None, new: Values) -> str | None:
    """What the .env of RELEASE is to hold; None if it does.

    A value that the release does not need goes. One that it needs becomes that of NEW, the values of SOURCE.
    """
    text = _read(env_file(home, release))
    before, needed = _values(text), _needed(home, release)
    after = {name: new.get(name, value) for name, value in before.items() if name in needed}
    if after == before:
        return None
    is_new = any(before[name] != value for name, value in after.items())
    lines = [line for line in text.splitlines() if not (is_new and line.startswith(REPLACED))]
    lines = [_ASSIGNED.sub(lambda found: f"{found[1]}={after.get(found[1], EMPTY)}", line) for line in lines]
    return "\n".join([f"{REPLACED}{source}.", *lines] if is_new else lines) + "\n"


def env_file(home: str, release: str) -> str:
    return os.path.join(home, "releases", release, ".env")


def _needed_values(home: str, release: str) -> Values:
    needed = _needed(home, release)
    return {name: value for name, value in values_of(home, release).items() if name in needed}


def _values(text: str) -> Values:
    """As they are written, quoted; without those that are empty."""
    found = filter(None, map(_ASSIGNED.match, text.splitlines()))
    return {one[1]: one[2] for one in found if one[2] not in ("", EMPTY)}


def _needed(home: str, release: str) -> set[str]:
    """What Compose replaces in the file of the service; $$ is a dollar sign."""
    text = _read(os.path.join(home, "releases", release, "compose.yaml"))
    return set(re.findall(r"(?<!\$)\$\{(\w+)\}", text, re.ASCII))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(_LONGEST)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
