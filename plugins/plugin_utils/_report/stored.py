# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is worth a word of the model cache of a host, from what hf_cache_info returns. Pure."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.progress import size

from .fleet import Facts, Report, note

# Free space of the file system below which a download of a common model may not fit: vLLM's own files need room, too.
NEARLY_FULL = 0.1


def notes(name: str, cache: Facts | None, problem: str | None = None) -> t.Iterator[Report]:
    """CACHE is what hf_cache_info returns. PROBLEM is why releases or cache could not be read."""
    if problem:
        yield {**note("report_incomplete", [name]), "evidence": problem}
    cache = cache or {}
    free, total = cache.get("free_bytes"), cache.get("total_bytes")
    if free is not None and total and free < NEARLY_FULL * total:
        yield note("disk_nearly_full", [name], free=measure(free), total=measure(total))
    dead = [partial for partial in cache.get("partials") or () if partial.get("live") is False]
    if dead:
        taken = sum(partial.get("allocated_bytes") or 0 for partial in dead)
        yield note("dead_partials", [name], count=len(dead), size=measure(taken))
    for repository in cache.get("repositories") or ():
        problems = _problems(repository)
        if problems:
            yield note("model_damaged", [name], model=repository.get("repo_id"), problems=problems)


def _problems(repository: Facts) -> str:
    """Files of a model that are missing, and defects by class; empty for one that is only being downloaded."""
    partials = repository.get("partials") or ()
    parts = []
    if repository.get("complete") is False and not any(partial.get("live") for partial in partials):
        parts.append(f"{len(repository.get('missing') or ())} files missing")
    broken = Counter(str(each.get("state")) for each in repository.get("broken") or ())
    return ", ".join(parts + [f"{number} {state}" for state, number in sorted(broken.items())])


def measure(number: float) -> str:
    """Bytes as `3.9 GB`."""
    if number >= 1e12:
        return f"{number / 1e12:.2f} TB"
    return "{} {}".format(*size(number))
