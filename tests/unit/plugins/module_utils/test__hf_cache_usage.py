# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.usage import CachedBytes, cached_bytes

BLOCK = 64 * 1024


def blob(root: Path, name: str, size: int) -> Path:
    folder = root / "models--Qwen--Qwen3-8B-FP8" / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x" * size)
    return folder / name


def test_nothing_there(tmp_path: Path) -> None:
    assert cached_bytes(str(tmp_path / "none"), "Qwen/Qwen3-8B-FP8") == CachedBytes(0, None)


def test_both_trees_are_counted(tmp_path: Path) -> None:
    blob(tmp_path, "a" * 64, BLOCK)
    blob(tmp_path / "hub", "b" * 40, BLOCK)
    (tmp_path / "models--other--model" / "blobs").mkdir(parents=True)
    (tmp_path / "models--other--model" / "blobs" / "c").write_bytes(b"x" * BLOCK)
    assert cached_bytes(str(tmp_path), "Qwen/Qwen3-8B-FP8") == CachedBytes(2 * BLOCK, None)


def test_of_several_partials_of_a_file_the_largest_counts(tmp_path: Path) -> None:
    blob(tmp_path, f"{'a' * 64}.incomplete", BLOCK)
    blob(tmp_path, f"{'a' * 64}.0123abcd.incomplete", 3 * BLOCK)
    newest = blob(tmp_path, f"{'b' * 64}.0123abcd.incomplete", 0)
    found = cached_bytes(str(tmp_path), "Qwen/Qwen3-8B-FP8")
    assert found.bytes == 3 * BLOCK
    assert found.newest_partial == newest.stat().st_mtime


def test_holes_do_not_count(tmp_path: Path) -> None:
    with blob(tmp_path, f"{'a' * 64}.incomplete", BLOCK).open("r+b") as file:
        file.truncate(1000 * BLOCK)
    assert cached_bytes(str(tmp_path), "Qwen/Qwen3-8B-FP8").bytes == BLOCK


def test_links_to_a_shared_store_count_and_dangling_ones_do_not(tmp_path: Path) -> None:
    store = tmp_path / "blobs" / "ab"
    store.mkdir(parents=True)
    (store / "hash").write_bytes(b"x" * BLOCK)
    link = blob(tmp_path, "a" * 64, 0)
    link.unlink()
    link.symlink_to(store / "hash")
    (link.parent / ("b" * 64)).symlink_to(tmp_path / "nowhere")
    assert cached_bytes(str(tmp_path), "Qwen/Qwen3-8B-FP8").bytes == BLOCK
