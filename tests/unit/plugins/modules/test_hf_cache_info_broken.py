# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hf_cache_info says of broken caches, and its limits."""

from __future__ import annotations

import hashlib
import os
import shutil
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import snapshot
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_info
from hf_damages import ETAG, OTHER_COMMIT, break_index, empty_ref, other_ref, pointer, states, truncate
from hf_trees import COMMIT, SHARDS, LocalFolder, Repo, Run, runner, safetensors


@pytest.fixture(name="run")
def _run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(hf_cache_info, tmp_path, capsys, monkeypatch)


@pytest.fixture(name="repo")
def _repo(tmp_path: Path) -> Repo:
    """A whole model."""
    return Repo(tmp_path).model()


def cut(repo: Repo) -> None:
    os.truncate(repo.blob(SHARDS[0]), 60)


def grow(repo: Repo) -> None:
    with repo.blob(SHARDS[0]).open("ab") as file:
        file.write(b"more")


def empty(repo: Repo) -> None:
    os.truncate(repo.blob(SHARDS[0]), 0)


def bad_config(repo: Repo) -> None:
    repo.blob("config.json").write_text('{"a": ')


def dangle(repo: Repo) -> None:
    repo.blob(SHARDS[0]).unlink()


def circle(repo: Repo) -> None:
    repo.file("a.txt").symlink_to("b.txt")
    repo.file("b.txt").symlink_to("a.txt")


def leave(repo: Repo) -> None:
    repo.file("notes.txt").symlink_to("/etc/hostname")


def half_ref(repo: Repo) -> None:
    repo.ref("main", COMMIT[:12])


def waste(repo: Repo) -> None:
    repo.add("old.txt")
    repo.file("old.txt").unlink()


def probe(repo: Repo) -> None:
    (repo.path / "blobs" / "tmp_0f8fad5b-d9cb-469f-a165-70867728950e").touch()


def lose_payload(repo: Repo) -> None:
    repo.share("extra.bin", b"12345").resolve().unlink()


@pytest.mark.parametrize(
    ("damage", "state", "file", "complete"),
    [
        (cut, "truncated", SHARDS[0], False),
        (grow, "truncated", SHARDS[0], False),
        (truncate, "truncated", SHARDS[0], False),
        (empty, "empty", SHARDS[0], False),
        (pointer, "lfs_pointers", SHARDS[0], False),
        (bad_config, "invalid_json", "config.json", False),
        (break_index, "invalid_json", "model.safetensors.index.json", False),
        (dangle, "dangling_links", SHARDS[0], False),
        (leave, "outside", "notes.txt", False),
        (empty_ref, "refs", None, False),
        (half_ref, "refs", None, False),
        (other_ref, "refs", None, False),
        (waste, "unreferenced", None, True),
        (probe, "probes", None, True),
    ],
)
def test_broken_states(
    repo: Repo, run: Run, damage: t.Callable[[Repo], None], state: str, file: str | None, complete: bool
) -> None:
    assert run()["broken"] == []
    damage(repo)
    result = run(models=["Qwen/Qwen3-8B-FP8"])
    assert states(result) == [(state, file)]
    assert result["broken"][0]["repo_id"] == "Qwen/Qwen3-8B-FP8"
    assert result["models"][0]["complete"] is complete
    assert result["unread"] == []


def test_links_in_a_circle(repo: Repo, run: Run) -> None:
    circle(repo)
    result = run()
    assert states(result) == [("dangling_links", "a.txt"), ("dangling_links", "b.txt")]
    assert "Too many levels of symbolic links" in result["broken"][0]["reason"]


def test_a_shared_payload_that_is_gone(repo: Repo, run: Run) -> None:
    lose_payload(repo)
    assert states(run()) == [("dangling_links", "extra.bin"), ("dangling_links", None)]


def test_empty_files_may_be_right(repo: Repo, run: Run) -> None:
    repo.add("__init__.py", "")
    repo.add("empty.bin", b"")
    assert run()["broken"] == []


def test_links_to_parents_deeper_down(repo: Repo, run: Run) -> None:
    repo.add("a/b/c.txt", "deep")
    assert run()["broken"] == []
    assert run()["repositories"][0]["files"] == 6


def spoil(path: Path) -> None:
    """The same size, another content."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file", [SHARDS[1], "config.json"])
def test_wrong_content_of_the_right_size(repo: Repo, run: Run, file: str) -> None:
    path = repo.blob(file)
    path.write_bytes(path.read_bytes()[:-1] + b"]" if file == "config.json" else path.read_bytes())
    if file == "config.json":
        path.write_text("[]")
    else:
        spoil(path)
    result = run(verify="full")
    assert [broken["path"] for broken in result["broken"]] == [str(path)]
    assert result["repositories"][0]["complete"] is False
    if file != "config.json":
        assert run()["broken"] == []
        assert states(result) == [("corrupt", file)]
        assert result["repositories"][0]["missing"] == [f"{file} (its content is not what its name says)"]


def test_full_verification_reads_everything(repo: Repo, tmp_path: Path, run: Run) -> None:
    LocalFolder(tmp_path / "plain").add("model.safetensors", safetensors(99))
    shared = repo.share("extra.bin", b"12345")
    result = run(verify="full")
    assert result["verified"] == {"files": 7, "bytes": result["bytes"]}
    assert result["broken"] == []
    shared.resolve().write_bytes(b"54321")
    assert states(run(verify="full")) == [("corrupt", "extra.bin")]
    assert run()["verified"] == {"files": 0, "bytes": 0}


def test_holes_are_a_hint_that_the_hash_settles(repo: Repo, run: Run) -> None:
    size = 1 << 20
    data = bytes(size)
    with (repo.path / "blobs" / hashlib.sha256(data).hexdigest()).open("wb") as file:
        file.truncate(size)
    repo.link("zeros.bin", hashlib.sha256(data).hexdigest())
    with (repo.path / "blobs" / ETAG).open("wb") as file:
        file.truncate(size)
    repo.link("holes.bin", ETAG)
    result = run()
    assert [broken["state"] for broken in result["broken"]] == ["sparse", "sparse"]
    assert result["repositories"][0]["complete"] is True
    assert states(run(verify="full")) == [("corrupt", "holes.bin")]


def test_the_wrong_owner_is_said_once(repo: Repo, run: Run) -> None:
    assert run(owner=str(os.getuid()))["broken"] == []
    (broken,) = run(owner=str(os.getuid() + 1))["broken"]
    assert broken["state"] == "wrong_owner"
    assert broken["reason"].startswith("11 files belong to somebody else")
    assert run(owner="nobody-of-this-name")["msg"].startswith("owner: there is no user nobody-of-this-name; use ")


def test_half_a_model_in_each_tree(tmp_path: Path, run: Run) -> None:
    """What the old --download-dir made: weights in one tree, config.json in the other."""
    weights, config = Repo(tmp_path).model(), Repo(tmp_path / "hub")
    weights.file("config.json").unlink()
    config.ref()
    config.add("config.json", "{}")
    (answer,) = run(models=["Qwen/Qwen3-8B-FP8"])["models"]
    assert (answer["complete"], answer["missing"]) == (False, [f"config.json (it is in {config.path})"])
    assert answer["path"] == str(weights.path)


def test_answers_for_wanted_models(repo: Repo, run: Run) -> None:
    repo.add("config.json", "{}", commit=OTHER_COMMIT)
    repo.ref("v2", OTHER_COMMIT)
    wanted = ["Qwen/Qwen3-8B-FP8", "org/absent"]
    answers = run(models=wanted)["models"]
    assert [(answer["repo_id"], answer["complete"], answer["missing"]) for answer in answers] == [
        (wanted[0], True, []),
        (wanted[1], False, ["the repository"]),
    ]
    for revision in (OTHER_COMMIT, "v2"):
        (answer,) = run(models=[f"{wanted[0]}@{revision}"])["models"]
        assert (answer["commit"], answer["complete"], answer["missing"]) == (
            OTHER_COMMIT,
            False,
            ["weights", "tokenizer"],
        )


def test_a_model_without_an_organization(tmp_path: Path, run: Run) -> None:
    Repo(tmp_path, "gpt2").model()
    assert [answer["complete"] for answer in run(models=["gpt2", f"gpt2@{COMMIT}"])["models"]] == [True, True]


def test_plain_folders(tmp_path: Path, run: Run) -> None:
    folder = LocalFolder(tmp_path / "qwen3")
    folder.add("config.json", b"{}")
    folder.add("tokenizer.json", b"{}")
    path = folder.add("model.safetensors", safetensors())
    (found,) = run()["local_folders"]
    assert (found["path"], found["complete"], found["files"]) == (str(folder.path), True, 3)
    spoil(path)
    assert states(run(verify="full")) == [("corrupt", "model.safetensors")]
    os.truncate(path, 9)
    result = run()
    assert states(result) == [("truncated", "model.safetensors")]
    assert result["local_folders"][0]["complete"] is False


def test_a_payload_that_nobody_has(repo: Repo, run: Run) -> None:
    blob = repo.share("extra.bin", b"12345")
    payload = blob.resolve()
    blob.unlink()
    repo.file("extra.bin").unlink()
    assert [broken["path"] for broken in run(verify="full")["broken"]] == [str(payload)]


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_a_repository_in_several_passes(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    for number in range(50):
        repo.add(f"{number}/file.bin", f"{number}".encode())
    cut(repo)
    dangle_name = "7/file.bin"
    repo.blob(dangle_name).unlink()
    waste(repo)
    monkeypatch.setattr(snapshot, "AT_ONCE", at_once)
    result = run()
    assert {broken["state"]: broken["file"] for broken in result["broken"]} == {
        "dangling_links": dangle_name,
        "truncated": SHARDS[0],
        "unreferenced": None,
    }
    assert (result["repositories"][0]["files"], result["repositories"][0]["complete"]) == (55, False)


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "AT_ONCE", 200)
    peaks = []
    for count in (500, 5000):
        repo = Repo(tmp_path / str(count)).model()
        blobs = [f"{number:064x}" for number in range(count)]
        for blob in blobs:
            (repo.path / "blobs" / blob).write_bytes(b"x")
            (repo.path / "snapshots" / COMMIT / f"{blob[40:]}.txt").symlink_to(f"../../blobs/{blob}")
        del blobs
        tracemalloc.start()
        hf_cache_info.read_cache(str(repo.root), [], "headers", None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_names_with_control_characters(repo: Repo, run: Run) -> None:
    repo.file("a\nb.txt").symlink_to("nowhere\x1b[31m")
    repo.ref("x\ny")
    os.symlink(b"nowhere", os.fsencode(repo.file("caf")) + b"\xe9")
    result = run()
    assert states(result) == [("dangling_links", "a\\x0ab.txt"), ("dangling_links", "caf\\xe9")]
    assert "x\\x0ay" in result["repositories"][0]["refs"]


def test_a_root_that_vanishes(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = snapshot.scan_repository

    def vanish(*asked: t.Any) -> t.Any:
        shutil.rmtree(repo.root)
        return scan(*asked)

    monkeypatch.setattr(snapshot, "scan_repository", vanish)
    result = run()
    assert "failed" not in result
    assert (result["exists"], result["repositories"][0]["complete"], result["bytes"]) == (False, False, 0)
