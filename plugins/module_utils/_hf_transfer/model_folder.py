# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that its owner has put into a folder of the host. Nothing lists its files: they are judged by their index."""

from __future__ import annotations

import os
import re
import typing as t

from .._hf_cache import beneath
from .._host.folders import lies_in
from . import model_files

_MOST_NAMED = 4
_SNAPSHOT = re.compile(r"(/.*)/models--([^/]+?)--([^/]+)/snapshots/([^/]+)")


def root_of(folder: str, cache: str) -> str:
    """What no link of the model may lead out of: what the container sees of the host."""
    real, of_cache = os.path.realpath(folder), os.path.realpath(cache)
    return of_cache if lies_in(real, of_cache) else real


def lacks(folder: str, cache: str) -> str | None:
    """What the folder lacks to be served, as one line; None if it is whole. CACHE is the model cache.

    Weights are judged by the header of each file, not by their content.
    """
    root, top = root_of(folder, cache), os.path.realpath(folder)
    present = model_files.sizes_below(top, root)
    missing, damaged = model_files.by_index(root, top, present)
    if "params.json" in present:  # Mistral's own form has its configuration there
        missing = [name for name in missing if name != "config.json"]
    if not missing and not damaged:
        return None
    links = _leading_out(top, present)
    plural = "the weights"
    named = [f"{name} {'are' if name == plural else 'is'} missing" for name in sorted(missing) if name not in links]
    named += [f"{name} is damaged" for name in sorted(damaged)]
    named += [f"{name} is a link to what the container does not see" for name in links]
    more = len(named) - _MOST_NAMED
    return ", ".join(named[:_MOST_NAMED]) + (f", and {more} more" if more > 0 else "")


def by_id(folder: str, cache: str) -> str | None:
    """The variables that serve a snapshot of another cache without a copy; None if no link of it leads out.

    A copy with files instead of the links may have the name of a snapshot, too, and is served as it is.
    """
    root, top = root_of(folder, cache), os.path.realpath(folder)
    found = _SNAPSHOT.fullmatch(top)
    if not found or not _leading_out(top, model_files.sizes_below(top, root)):
        return None
    path, owner, name, revision = found.groups()
    return (
        f"vllm_model: {owner}/{name}, hf_cache_path: {path} and, to pin it, vllm_extra_args: {{revision: {revision}}}"
    )


def _leading_out(top: str, present: t.Mapping[str, int]) -> list[str]:
    """Links directly in the folder, as in a snapshot of a cache, to what is not in it."""
    try:
        with os.scandir(top) as entries:
            links = sorted(entry.name for entry in entries if entry.is_symlink() and model_files.is_name(entry.name))
    except OSError:
        return []
    return [name for name in links if name not in present]


class Folder:
    """The small files of such a model, as hub.Cache gives those of a download."""

    def __init__(self, folder: str, cache: str) -> None:
        self.root, self.folder = root_of(folder, cache), os.path.realpath(folder)

    def read_json(self, name: str) -> dict[str, object] | None:
        found = beneath.read_json(self.root, os.path.join(self.folder, name))
        return found if isinstance(found, dict) else None

    def size(self, name: str) -> int | None:
        found = beneath.regular(self.root, os.path.join(self.folder, name))
        return found[0].st_size if found else None
