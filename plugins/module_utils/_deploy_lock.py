# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deploys a service at the moment: the content of the lock, and the decision to take it. Private to the collection."""

from __future__ import annotations

import json
import typing as t

Holder = t.Dict[str, t.Any]
FIELDS = {"run": str, "machine": str, "user": str, "controller": str, "since": float, "until": float}


def parse(text: str) -> Holder | None:
    """The holder that a lock's file names; None for a file that is empty, torn or not ours."""
    try:
        holder = json.loads(text)
    except ValueError:
        return None
    if not isinstance(holder, dict):
        return None
    for name, kind in FIELDS.items():
        if not isinstance(holder.get(name), (int, float) if kind is float else kind):
            return None
    return holder


def holder_after(held: Holder | None, run: Holder, now: float, lease: float, dead: str | None) -> Holder | None:
    """Who holds the lock now: RUN, with its lease renewed; None when somebody else holds it.

    RUN has the fields run, machine, user and controller. DEAD is a run that is known to be over.
    """
    mine = held is not None and held["run"] == run["run"]
    if held is not None and not mine and held["until"] > now and held["run"] != dead:
        return None
    return {**run, "since": held["since"] if mine and held else now, "until": now + lease}
