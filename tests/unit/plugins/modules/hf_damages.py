# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to damage a model in a cache, and what hf_cache_info then calls broken."""

from __future__ import annotations

import typing as t

from hf_trees import SHARDS, Repo

OTHER_COMMIT = "d" * 40
ETAG = "e" * 64


def break_index(repo: Repo) -> None:
    repo.blob("model.safetensors.index.json").write_text("{")


def empty_ref(repo: Repo) -> None:
    repo.ref(commit="")


def other_ref(repo: Repo) -> None:
    repo.ref(commit=OTHER_COMMIT)


def truncate(repo: Repo) -> None:
    repo.manifest(config__json=2, **{SHARDS[0].replace(".", "__"): 99_999})


def states(result: dict[str, t.Any]) -> list[tuple[str, str | None]]:
    return sorted(((broken["state"], broken["file"]) for broken in result["broken"]), key=str)


def pointer(repo: Repo) -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{ETAG}\nsize 4900000000\n"
    repo.blob(SHARDS[0]).write_text(text)
