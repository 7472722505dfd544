# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An error of the operating system, in one line for the user."""

from __future__ import annotations


def one_line(error: OSError, place: str) -> str:
    """What failed where. PLACE is named if the error names none."""
    remedy = ". It needs root: become: true" if isinstance(error, PermissionError) else ""
    return f"{error.filename or place}: {error.strerror or error}{remedy}"
