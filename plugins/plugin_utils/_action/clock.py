# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of a host, compared with that of the controller."""

from __future__ import annotations


def compared(read: int, before: float, after: float) -> dict[str, float]:
    """Seconds that the host is ahead, if its clock said READ, in whole seconds, at some moment from BEFORE to AFTER."""
    return {"least": round(read - after, 1), "most": round(read + 1 - before, 1)}
