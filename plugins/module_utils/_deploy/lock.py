# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deploys a service at the moment: the content of the lock, and the decision to take it.

Times are seconds since the boot of the host, as the lock is: no clock that is set meanwhile can end it or keep it.
"""

from __future__ import annotations

import typing as t

from .._outside.text import plain
from .._outside.values import mapping, parse_json

Holder = dict[str, t.Any]
WORDS = ("run", "user", "controller")
TIMES = ("since", "until")
LONGEST_WORD = 200
LATEST = 1e11  # thousands of years


def parse(text: str) -> Holder | None:
    """The holder that a lock's file names; None for a file that is empty, torn or not ours."""
    holder = mapping(parse_json(text))
    for name in WORDS:
        if not isinstance(holder.get(name), str) or not holder[name]:
            return None
    for name in TIMES:
        if type(holder.get(name)) not in (int, float) or not abs(holder[name]) < LATEST:  # nor is NaN
            return None
    return {**{name: word(holder[name]) for name in WORDS}, **{name: holder[name] for name in TIMES}}


def word(name: str) -> str:
    """A word that stays on its line, whatever somebody has called a user or a machine."""
    return plain(name[:LONGEST_WORD]).strip() or "?"


def holder_after(held: Holder | None, run: Holder, now: float, lease: float, dead: str | None) -> Holder | None:
    """Who holds the lock now: RUN, with its lease renewed; None when somebody else holds it.

    RUN has the fields run, user and controller. DEAD is a run that is known to be over.
    """
    if held is not None and held["since"] > now:  # of an earlier boot
        held = None
    mine = held is not None and held["run"] == run["run"]
    if held is not None and not mine and held["until"] > now and held["run"] != dead:
        return None
    return {**run, "since": held["since"] if mine and held else now, "until": now + lease}
