# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security advisories of vLLM: which ones a version has, and what they say. Pure."""

from __future__ import annotations

import typing as t

from .vllm_options import version_key

Advisories = t.Mapping[str, t.Mapping[str, t.Any]]


def advisories_of(version: str | None, advisories: Advisories, with_key: bool = False) -> list[str]:
    """The ids of those that a version has; none if the version is not known. WITH_KEY: of those that need the key."""
    if version is None:
        return []
    key = version_key(version)
    return [
        name
        for name, advisory in advisories.items()
        if advisory.get("with_key", False) == with_key
        and version_key(advisory["since"]) <= key < version_key(advisory["fixed_in"])
    ]


def is_known(version: str | None) -> bool:
    """Whether a version tells which ones. A build without the tags of its repository calls itself 0.1.dev1."""
    return version is not None and version_key(version) >= version_key("0.2")


def told(names: t.Sequence[str], advisories: Advisories) -> str:
    """What they say, as one text. An id that only an entry of the user names stands for itself."""
    return "; ".join(
        f"{name}: {advisories[name]['what']}, fixed in vLLM {advisories[name]['fixed_in']}"
        if name in advisories
        else name
        for name in names
    )
