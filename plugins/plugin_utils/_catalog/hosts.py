# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels and drivers of hosts that are known to be bad. Pure."""

from __future__ import annotations

import typing as t
from fnmatch import fnmatchcase

from .fields import Entry
from .images import is_met

# Fields of an entry with a pattern, and where spark_info says what the host has.
PARTS = {"kernel": ("os", "kernel"), "driver": ("gpu", "driver")}


def host_faults(
    known: t.Iterable[Entry], host: t.Mapping[str, t.Any], settings: t.Mapping[str, t.Any]
) -> list[dict[str, str]]:
    """What is known to be bad of a host with these settings of its service: what, and the remedy."""
    has = {part: str((host.get(where) or {}).get(name) or "") for part, (where, name) in PARTS.items()}
    found = []
    for entry in known:
        parts = [part for part in PARTS if part in entry]
        if all(fnmatchcase(has[part], entry[part]) for part in parts) and is_met(entry, settings):
            versions = " and ".join(f"{part} {has[part]}" for part in parts)
            found.append({"what": f"{versions}: {entry['what'].rstrip('.')}", "remedy": entry["remedy"].rstrip(".")})
    return found
