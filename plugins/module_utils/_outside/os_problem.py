# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An error of the operating system, in one line for the user."""

from __future__ import annotations

import os


def one_line(error: OSError, place: str) -> str:
    """What failed where. PLACE is named if the error names none."""
    return f"{error.filename or place}: {error.strerror or error}{remedy(error)}"


def remedy(error: OSError) -> str:
    """What to do where the system denies a permission, as a sentence that follows. Root does not have all of them."""
    if not isinstance(error, PermissionError) or error.strerror != os.strerror(error.errno or 0):  # with its own remedy
        return ""
    if os.geteuid():
        return ". It needs root: become: true"
    return (
        ". Even root may not: look for an immutable attribute (lsattr), and for a mount that is read-only or squashes"
        " root (findmnt)"
    )
