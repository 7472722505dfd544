# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are wanted, which are there, and what an error of the client means."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import model_files
from hypothesis import given
from hypothesis import strategies as st

from support.trees import deep_tree

MODEL = "org/name"
COMMIT = "c" * 40
BASE = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]


# --- what vLLM asks for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        # openai/gpt-oss-20b: the weights three times
        (
            ["model-0.safetensors", "model.safetensors.index.json", "original/model.safetensors", "metal/model.bin"],
            ["model-0.safetensors", "model.safetensors.index.json"],
        ),
        (
            ["model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json", "model.gguf"],
            ["model.safetensors"],
        ),
        (
            ["pytorch_model.bin", "pytorch_model.bin.index.json", "original/consolidated.00.pth"],
            ["pytorch_model.bin", "pytorch_model.bin.index.json"],
        ),
        (["model.pt"], ["model.pt"]),
        # of Mistral: the weights in both forms, and in its own alone
        (
            [
                *("params.json", "consolidated.safetensors", "consolidated.safetensors.index.json"),
                *("model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"),
            ],
            ["params.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"],
        ),
        (
            ["params.json", "consolidated-00001-of-00002.safetensors", "model.safetensors"],
            ["params.json", "model.safetensors"],
        ),
        (["params.json", "consolidated.safetensors"], ["params.json", "consolidated.safetensors"]),
        (
            ["consolidated-1.safetensors", "consolidated.safetensors.index.json"],
            ["consolidated-1.safetensors", "consolidated.safetensors.index.json"],
        ),
        (["unet/model.safetensors", "model.safetensors"], ["model.safetensors"]),
        (["tokenizer.model", "merges.txt", "tekken.json"], ["merges.txt", "tekken.json", "tokenizer.model"]),
        (["chat_template.jinja", "additional_chat_templates/rag.jinja"],) * 2,
        (["1_Pooling/config.json", "modeling_x.py"],) * 2,
        (["README.md", ".gitattributes", ".cache/x.json", "LICENSE", "image.png", "onnx/config.json"], []),
    ],
)
def test_select(there: list[str], wanted: list[str]) -> None:
    assert model_files.select(BASE + there) == sorted(BASE + wanted)


def test_weights_are_recognized() -> None:
    assert model_files.has_weights(["config.json", "model.safetensors"])
    assert not model_files.has_weights(["config.json", "model.gguf"])


def test_listing_without_nonsense() -> None:
    good = {"size": 1, "etag": "a"}
    listed = {"a": good, "../b": good, "c//d": good, "/e": good, "f": None, "g": {"size": "1", "etag": "a"}}
    assert model_files.parse_listing(listed) == {"a": model_files.File(1, "a")}
    assert model_files.parse_listing([1]) == {}


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", COMMIT])
def test_revisions(revision: str) -> None:
    assert model_files.check_revision(revision) is None


@pytest.mark.parametrize("revision", ["", "../x", "a/../b", "/etc", "a//b", "a b", "-x", "a\n"])
def test_revisions_that_lead_elsewhere(revision: str) -> None:
    assert "is not allowed" in str(model_files.check_revision(revision))


# --- what is there ---------------------------------------------------------------------------------------------------


def safetensors(data: int = 8) -> bytes:
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(data)


CONTENT = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model-1.safetensors": safetensors(8),
    "model-2.safetensors": safetensors(9),
    "model.safetensors.index.json": b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}',
}


class Cache:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "models--org--name"
        self.snapshot = self.folder / "snapshots" / COMMIT
        (self.folder / "refs").mkdir(parents=True)
        (self.folder / "blobs").mkdir()
        self.snapshot.mkdir(parents=True)
        (self.folder / "refs" / "main").write_text(COMMIT)
        for name, content in CONTENT.items():
            self.add(name, content)

    def add(self, name: str, content: bytes) -> None:
        (self.folder / "blobs" / self.etag(name)).write_bytes(content)
        (self.snapshot / name).symlink_to(f"../../blobs/{self.etag(name)}")

    @staticmethod
    def etag(name: str) -> str:
        return name.encode().hex().ljust(64, "0")[:64]

    def files(self) -> model_files.Files:
        return {name: model_files.File(len(content), self.etag(name)) for name, content in CONTENT.items()}

    def record(self, listed: bool) -> Cache:
        if listed:
            model_files.record(str(self.folder), COMMIT, self.files())
        return self

    def look(self, revision: str = "main") -> model_files.Snapshot:
        return model_files.look_up(str(self.path), MODEL, revision)


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "hf")


both = pytest.mark.parametrize("listed", [True, False])


@both
def test_complete(cache: Cache, listed: bool) -> None:
    found = cache.record(listed).look()
    assert (found.complete, found.commit, found.path) == (True, COMMIT, str(cache.snapshot))
    assert cache.look(COMMIT) == found


def test_a_model_in_the_folder_hub(tmp_path: Path) -> None:
    """Where clients keep it that are given HF_HOME."""
    below = Cache(tmp_path / "hub")
    found = model_files.look_up(str(tmp_path), MODEL, "main")
    assert (found.complete, found.path) == (True, str(below.snapshot))
    here = Cache(tmp_path)
    assert model_files.look_up(str(tmp_path), MODEL, "main").path == str(here.snapshot)


def test_a_link_is_no_folder_hub(tmp_path: Path) -> None:
    Cache(tmp_path / "elsewhere")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "hub").symlink_to("../elsewhere")
    assert model_files.look_up(str(tmp_path / "hf"), MODEL, "main").commit is None


@both
def test_a_deep_tree_in_a_snapshot_stops_nothing(cache: Cache, listed: bool) -> None:
    with deep_tree(cache.snapshot / "d"):
        assert cache.record(listed).look().complete


@both
def test_a_missing_shard(cache: Cache, listed: bool) -> None:
    (cache.record(listed).snapshot / "model-2.safetensors").unlink()
    assert cache.look()[3:] == (["model-2.safetensors"], [])


@both
def test_a_dangling_link(cache: Cache, listed: bool) -> None:
    (cache.record(listed).folder / "blobs" / cache.etag("model-2.safetensors")).unlink()
    assert cache.look().missing == ["model-2.safetensors"]


@both
def test_a_link_out_of_the_cache(cache: Cache, tmp_path: Path, listed: bool) -> None:
    (tmp_path / "elsewhere").write_bytes(CONTENT["tokenizer.json"])
    (cache.record(listed).snapshot / "tokenizer.json").unlink()
    (cache.snapshot / "tokenizer.json").symlink_to(tmp_path / "elsewhere")
    assert cache.look().missing == ["tokenizer.json" if listed else "the tokenizer"]


@both
@pytest.mark.parametrize("content", [b"", safetensors(9)[:-1], safetensors(9) + b"x"])
def test_a_weight_file_of_the_wrong_size(cache: Cache, listed: bool, content: bytes) -> None:
    (cache.record(listed).snapshot / "model-2.safetensors").write_bytes(content)
    found = cache.look()
    assert (found.missing, found.damaged, found.complete) == ([], ["model-2.safetensors"], False)


@both
def test_an_empty_config(cache: Cache, listed: bool) -> None:
    (cache.record(listed).snapshot / "config.json").write_bytes(b"")
    assert cache.look().damaged == ["config.json"]


def test_only_a_list_tells_that_a_small_file_is_missing(cache: Cache) -> None:
    files = {**cache.files(), "generation_config.json": model_files.File(9, "e")}
    assert cache.look().complete
    model_files.record(str(cache.folder), COMMIT, files)
    assert cache.look().missing == ["generation_config.json"]


def test_the_list_of_the_client_counts_too(cache: Cache) -> None:
    (cache.folder / "trees").mkdir()
    entries = {"generation_config.json": {"size": 9, "blob_id": "b", "lfs_sha256": "l"}, "README.md": {"size": 1}}
    (cache.folder / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": entries}))
    assert cache.look().missing == ["generation_config.json"]
    assert model_files.recorded(str(cache.folder), COMMIT) == {"generation_config.json": model_files.File(9, "l")}


def test_without_weights_or_a_tokenizer(cache: Cache) -> None:
    for name in ("model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "tokenizer.json"):
        (cache.snapshot / name).unlink()
    assert cache.look().missing == ["the tokenizer", "the weights"]


@pytest.mark.parametrize("ref", ["", "main", "d" * 40, "../" * 10])
def test_a_ref_that_leads_nowhere(cache: Cache, ref: str) -> None:
    (cache.folder / "refs" / "main").write_text(ref)
    found = cache.look()
    assert (found.complete, found.commit, found.present) == (False, None, {})


def test_an_empty_cache(tmp_path: Path) -> None:
    assert not model_files.look_up(str(tmp_path / "no"), MODEL, "main").complete


@given(st.binary(max_size=200))
def test_no_content_breaks_the_look_at_a_weight_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.safetensors"
    for text in (content, struct.pack("<Q", len(content)) + content):
        file.write_bytes(text)
        assert model_files._is_whole(str(file.parent), str(file), len(text)) in (True, False)


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_bytes_of_finished_and_unfinished_files(cache: Cache) -> None:
    blobs = cache.folder / "blobs"
    files = {**cache.files(), "a": model_files.File(10_000, "a" * 64), "b": model_files.File(10_000, "b" * 64)}
    before = model_files.blob_bytes(str(cache.folder), files)
    assert before == sum(map(len, CONTENT.values()))
    (blobs / f"{'a' * 64}.incomplete").write_bytes(bytes(1000))
    (blobs / f"{'a' * 64}.12345678.incomplete").write_bytes(bytes(4000))
    with (blobs / f"{'b' * 64}.incomplete").open("wb") as holes:
        holes.truncate(10_000)
    (blobs / "unknown").write_bytes(bytes(4000))
    assert model_files.blob_bytes(str(cache.folder), files) == before + 4000
    assert model_files.blob_bytes(str(cache.path / "none"), files) == 0


def test_the_same_content_under_two_names_counts_once() -> None:
    assert model_files.by_blob(
        {"a": model_files.File(3, "x"), "b": model_files.File(3, "x"), "c": model_files.File(4, "y")}
    ) == {"x": 3, "y": 4}


@pytest.mark.parametrize(
    ("client", "expected"), [("0.34.4", True), ("1.17.9", True), ("1.18.0", False), ("2.4.0", False), ("2.0rc1", False)]
)
def test_which_client_resumes(client: str, expected: bool) -> None:
    assert model_files.resumes(client) is expected


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("{}.incomplete", 4096, True),
        ("{}.incomplete", 0, False),
        ("{}.incomplete", 9000, False),  # longer than the file will be
        ("{}.12345678.incomplete", 4096, False),
    ],
)
def test_what_can_be_resumed(tmp_path: Path, name: str, size: int, expected: bool) -> None:
    file = tmp_path / name.format("a" * 64)
    file.write_bytes(bytes(size))
    assert model_files.can_be_resumed(str(file), file.stat(), {"a" * 64: 8192}) is expected
    assert not model_files.can_be_resumed(str(file), file.stat(), {})


def test_a_partial_with_holes_is_not_resumed(tmp_path: Path) -> None:
    file = tmp_path / f"{'a' * 64}.incomplete"
    with file.open("wb") as handle:
        handle.truncate(1_000_000)
        handle.write(b"x" * 4096)
    assert not model_files.can_be_resumed(str(file), file.stat(), {"a" * 64: 2_000_000})


def test_a_record_is_whole_and_readable(cache: Cache) -> None:
    model_files.record(str(cache.folder), COMMIT, cache.files())
    folder = cache.folder / ".dgxspark"
    assert os.listdir(folder) == [f"{COMMIT}.json"]
    assert (folder / f"{COMMIT}.json").stat().st_mode & 0o777 == 0o644
    assert model_files.recorded(str(cache.folder), COMMIT) == cache.files()
