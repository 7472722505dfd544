# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of a service: its releases, and whose its folder and its units are."""

from __future__ import annotations

import typing as t

from .._host.services import unit_files, written
from .home import moved, owner, refusal
from .releases import describe


def read(home: str, service: str | None, cache_path: str | None) -> dict[str, t.Any]:
    """What the module vllm_releases_info returns; without the name of a SERVICE the releases alone.

    CACHE_PATH is the folder that its container writes. Raises OSError.
    """
    return {**describe(home), **(_ownership(home, service, cache_path) if service else {})}


def _ownership(home: str, service: str, cache_path: str | None) -> dict[str, t.Any]:
    return {
        "refusal": refusal(home, service, cache_path),
        "moved": moved(home, service),
        "owned": owner(home) == service,
        "units": [path for path in unit_files(service) if written(path)],
    }
