# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where on the controller a page of the documentation is: the collection brings it along."""

from __future__ import annotations

from pathlib import Path

COLLECTION = Path(__file__).absolute().parents[3]


def read_more(link: str) -> str:
    """A link from the collection's root, as it leads to the page from here: as it is in a clone, else by its path."""
    if (Path.cwd() / link.partition("#")[0]).is_file():
        return link
    return str(COLLECTION / link)
