# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of a service: its releases, and whose its folder and its units are."""

from __future__ import annotations

import typing as t

from .._host.services import unit_files, written
from .._outside import os_problem
from .home import moved, owner, refusal
from .releases import describe


class Unreadable(Exception):
    """The folder may not be read, or cannot be: in one line."""


def read(home: str, service: str | None, cache: str | None) -> dict[str, t.Any]:
    """What the module vllm_releases_info returns; without the name of a SERVICE the releases alone.

    CACHE is the folder that its container writes. Raises Unreadable.
    """
    try:
        return {**describe(home), **(_ownership(home, service, cache) if service else {})}
    except OSError as error:
        raise Unreadable(os_problem.one_line(error, home)) from error


def _ownership(home: str, service: str, cache: str | None) -> dict[str, t.Any]:
    return {
        "refusal": refusal(home, service, cache),
        "moved": moved(home, service),
        "owned": owner(home) == service,
        "units": [path for path in unit_files(service) if written(path)],
    }
