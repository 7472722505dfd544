# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to repeat a run without the hosts that it has lost."""

from __future__ import annotations

import typing as t


def go_on(lost: t.Sequence[str], hosts: t.Collection[str], limit: str = "", may_be_common: bool = False) -> str:
    """The line that names the limit without LOST, which may be groups; empty if none of HOSTS would be left.

    MAY_BE_COMMON: the others may have what made them fail, such as a variable of all hosts or a release that fails.
    A second -l replaces the first, so LIMIT, that of this run, is repeated. Where it has a comma, Ansible takes no
    colon as a separator.
    """
    if not lost or not hosts:
        return ""
    between = ":" if ":" in limit and "," not in limit else ","
    named = limit.split(between) if limit else []
    left = [name for name in named if name not in lost]
    # a group would still have them
    chosen = left if left and set(left) <= set(hosts) else [*named, *(f"!{name}" for name in lost)]
    whom = "it" if len(lost) == 1 else "them"
    proviso = ", if the others do not have the same fault" if may_be_common else ""
    return f"To go on without {whom}{proviso}: run the command with -l '{between.join(chosen)}'."
