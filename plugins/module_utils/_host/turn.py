# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service of a swap group has its turn, by what systemd says of their units. Pure.

Each unit of a group conflicts with the others, so at most one of them runs. The one that is enabled comes back with the
host, so it has its turn also while it is down.
"""

from __future__ import annotations

import typing as t

from .._outside.text import plain
from .services import NAME

_RUNS = ("active", "activating", "reloading")
_COMES_BACK = ("enabled", "enabled-runtime")


class State(t.NamedTuple):
    active: str
    file: str


def commands(units: t.Sequence[str]) -> list[list[str]]:
    """What says the states of UNITS. Of their files `show` has what the last reload read, so the disk is asked."""
    return [
        ["systemctl", "show", "--property=Id,ActiveState", "--", *units],
        ["systemctl", "list-unit-files", "--no-legend", "--plain", "--", *units],
    ]


def states(shown: str) -> dict[str, State]:
    """The output of both commands, one after the other."""
    active: dict[str, str] = {}
    files: dict[str, str] = {}
    name = ""
    for line in map(plain, shown.splitlines()):
        key, is_pair, value = line.partition("=")
        if is_pair and key == "Id":
            name = value
        elif is_pair and key == "ActiveState":
            active[name] = value
        elif not is_pair and len(words := line.split()) > 1:
            files[words[0]] = words[1]
    return {name: State(state, files.get(name, "")) for name, state in active.items()}


class Turn(t.NamedTuple):
    unit: str  # that has its turn; empty if none does
    running: list[str]
    enabled: list[str]


def turn(own: str, units: t.Mapping[str, State]) -> Turn:
    """OWN comes first, if several qualify."""
    order = sorted(units, key=lambda name: name != own)
    running = [name for name in order if units[name].active in _RUNS]
    enabled = [name for name in order if units[name].file in _COMES_BACK]
    return Turn(next(iter(running + enabled), ""), running, enabled)


def on_turn(own: str, units: t.Mapping[str, State]) -> str:
    """The unit that has its turn; empty if none does."""
    return turn(own, units).unit


def group_of(conflicts: str) -> list[str]:
    """The other units of a group, from the property Conflicts of one of them; systemd adds shutdown.target."""
    names = (name for name in conflicts.split() if name.endswith(".service"))
    return [name for name in names if NAME.fullmatch(name[: -len(".service")])]
