# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on caches built in a temporary folder, with real processes that hold real locks and files."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks as hf_locks
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_info
from hf_damages import ETAG, OTHER_COMMIT, break_index, empty_ref, other_ref, pointer, states, truncate
from hf_trees import COMMIT, SHARDS, Repo, Run, runner, safetensors


@pytest.fixture(name="run")
def _run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(hf_cache_info, tmp_path, capsys, monkeypatch)


@pytest.fixture(name="repo")
def _repo(tmp_path: Path) -> Repo:
    """A whole model."""
    return Repo(tmp_path).model()


def test_a_cache_that_is_not_there(tmp_path: Path, run: Run) -> None:
    result = run(path=str(tmp_path / "absent"))
    assert (result["exists"], result["repositories"], result["partials"], result["bytes"]) == (False, [], [], 0)
    assert result["total_bytes"] > 0
    assert "failed" not in result


def test_a_whole_model(repo: Repo, run: Run) -> None:
    result = run()
    (found,) = result["repositories"]
    size = sum(blob.stat().st_size for blob in (repo.path / "blobs").iterdir())
    assert found == {
        "repo_id": "Qwen/Qwen3-8B-FP8",
        "type": "model",
        "path": str(repo.path),
        "bytes": size,
        "allocated_bytes": sum(blob.stat().st_blocks * 512 for blob in (repo.path / "blobs").iterdir()),
        "files": 5,
        "broken": [],
        "revisions": [COMMIT],
        "refs": {"main": COMMIT},
        "complete": True,
        "missing": [],
        "partials": [],
    }
    assert (result["exists"], result["bytes"], result["changed"]) == (True, size, False)


def test_one_safetensors_file_needs_no_index(tmp_path: Path, run: Run) -> None:
    repo = Repo(tmp_path)
    repo.ref()
    repo.add("config.json", "{}")
    repo.add("tokenizer.json", "{ }")
    repo.add("model.safetensors", safetensors())
    assert run()["repositories"][0]["complete"] is True


def drop_shard(repo: Repo) -> None:
    (repo.path / "snapshots" / COMMIT / SHARDS[1]).unlink()


def drop_blob(repo: Repo) -> None:
    (repo.path / "snapshots" / COMMIT / SHARDS[0]).resolve().unlink()


def drop_config(repo: Repo) -> None:
    (repo.path / "snapshots" / COMMIT / "config.json").unlink()


def drop_weights(repo: Repo) -> None:
    for name in (*SHARDS, "model.safetensors.index.json"):
        (repo.path / "snapshots" / COMMIT / name).unlink()


def drop_tokenizer(repo: Repo) -> None:
    repo.file("tokenizer.json").unlink()


def manifest_lists_a_tokenizer(repo: Repo) -> None:
    """The server's own download leaves it to the loader of the tokenizer, which may not have come so far."""
    drop_tokenizer(repo)
    repo.manifest(tokenizer__json=3)


def drop_snapshots(repo: Repo) -> None:
    shutil.rmtree(repo.path / "snapshots")
    shutil.rmtree(repo.path / "refs")


def add_partial(repo: Repo) -> None:
    (repo.path / "blobs" / f"{ETAG}.incomplete").write_text("x")


def link_out(repo: Repo) -> None:
    (repo.path / "snapshots" / COMMIT / "notes.txt").symlink_to("/etc/hostname")


def manifest_lists_more(repo: Repo) -> None:
    drop_weights(repo)
    repo.manifest(model__safetensors__index__json=9, **{SHARDS[0].replace(".", "__"): 9}, README__md=3)


def download_lists_more(repo: Repo) -> None:
    """hf_download notes what it wanted, and all of that has to be there; old clients keep no list."""
    listed = {"merges.txt": {"size": 9, "etag": ETAG}, SHARDS[0]: {"size": 99_999, "etag": ETAG}}
    (repo.path / ".dgxspark").mkdir()
    (repo.path / ".dgxspark" / f"{COMMIT}.json").write_text(json.dumps(listed))


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        (drop_shard, [SHARDS[1]]),
        (drop_blob, [f"{SHARDS[0]} (broken link)"]),
        (drop_config, ["config.json"]),
        (drop_weights, ["weights"]),
        (drop_tokenizer, ["tokenizer"]),
        (manifest_lists_a_tokenizer, ["tokenizer"]),
        (break_index, ["model.safetensors.index.json (not valid JSON)"]),
        (empty_ref, ["refs/main (not a commit)"]),
        (other_ref, [f"snapshots/{OTHER_COMMIT}"]),
        (drop_snapshots, ["snapshots"]),
        (add_partial, [f"blobs/{ETAG}.incomplete (partial)"]),
        (link_out, ["notes.txt (link out of the cache)"]),
        (truncate, [f"{SHARDS[0]} ({len(safetensors())} bytes instead of 99999)"]),
        (manifest_lists_more, [SHARDS[0], "model.safetensors.index.json"]),
        (download_lists_more, [f"{SHARDS[0]} ({len(safetensors())} bytes instead of 99999)", "merges.txt"]),
    ],
)
def test_a_model_that_is_not_whole(repo: Repo, run: Run, damage: t.Callable[[Repo], None], missing: list[str]) -> None:
    damage(repo)
    (found,) = run()["repositories"]
    assert (found["complete"], found["missing"]) == (False, missing)


def test_a_leftover_partial_of_a_finished_file_does_not_matter(repo: Repo, run: Run) -> None:
    blob = repo.add("merges.txt")
    blob.with_name(f"{blob.name}.0123abcd.incomplete").write_text("x")
    (found,) = run()["repositories"]
    assert (found["complete"], len(found["partials"])) == (True, 1)


@pytest.mark.parametrize("folder", ["trees", ".dgxspark"])
@pytest.mark.parametrize("wanted", [True, False])
def test_a_partial_matters_when_the_commit_has_the_file(repo: Repo, run: Run, folder: str, wanted: bool) -> None:
    """hf_download wants what it has noted; a client's list is of the whole commit."""
    listed = {"config.json": {"size": 2, "etag": repo.blob("config.json").name, "blob_id": "0" * 40}}
    if wanted:
        listed["config.json"]["etag" if folder == ".dgxspark" else "lfs_sha256"] = ETAG
    if folder == "trees":
        del listed["config.json"]["etag"]
    (repo.path / folder).mkdir()
    text = json.dumps({"files": listed} if folder == "trees" else listed)
    (repo.path / folder / f"{COMMIT}.json").write_text(text)
    add_partial(repo)
    (found,) = run()["repositories"]
    assert (found["complete"], len(found["partials"])) == (not wanted, 1)


def test_a_pointer_is_called_so_even_where_a_list_has_the_size(repo: Repo, run: Run) -> None:
    truncate(repo)
    pointer(repo)
    assert states(run()) == [("lfs_pointers", SHARDS[0])]


def test_what_cannot_be_judged(tmp_path: Path, run: Run) -> None:
    pinned = Repo(tmp_path, "org/pinned-twice")
    pinned.add("config.json", commit=COMMIT)
    pinned.add("config.json", commit=OTHER_COMMIT)
    Repo(tmp_path, "org/data", "datasets").add("train.parquet")
    found = {entry["repo_id"]: entry for entry in run()["repositories"]}
    assert found["org/data"]["type"] == "dataset"
    assert found["org/pinned-twice"]["revisions"] == [COMMIT, OTHER_COMMIT]
    assert {entry["complete"] for entry in found.values()} == {None}


def test_a_pinned_model_needs_no_ref(repo: Repo, run: Run) -> None:
    shutil.rmtree(repo.path / "refs")
    assert run()["repositories"][0]["complete"] is True


def test_both_trees_and_the_filter(repo: Repo, tmp_path: Path, run: Run) -> None:
    half = Repo(tmp_path / "hub")
    half.ref()
    half.add("config.json", "{}")
    Repo(tmp_path, "org/other").add("config.json")
    Repo(tmp_path, "Qwen/Qwen3-8B-FP8", "datasets")
    found = run(models=["Qwen/Qwen3-8B-FP8"])["repositories"]
    assert [(entry["path"], entry["missing"]) for entry in found] == [
        (str(repo.path), []),
        (str(half.path), ["weights", "tokenizer"]),
    ]
    assert len(run()["repositories"]) == 4


def test_a_shared_blob_counts_once(repo: Repo, tmp_path: Path, run: Run) -> None:
    before = run()["bytes"]
    for each in (repo, Repo(tmp_path, "org/twin")):
        each.share("tokenizer.bin", b"12345")
    result = run()
    assert result["bytes"] == before + 5
    assert [entry["bytes"] for entry in result["repositories"]] == [before + 5, 5]
    assert run(models=["Qwen/Qwen3-8B-FP8", "org/twin"])["bytes"] == before + 5
    (tmp_path / "blobs" / ".huggingface-shared-blobs").unlink()
    assert run()["bytes"] == before + 5


def test_a_live_partial_names_its_holder(repo: Repo, run: Run) -> None:
    path = repo.path / "blobs" / f"{ETAG}.incomplete"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        process = subprocess.Popen(
            ["downloader hf_AbCdEfGh12345678"],
            executable=shutil.which("cat"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(file.fileno(),),
            bufsize=0,
        )
    with process:
        assert process.stdin and process.stdout
        process.stdin.write(b"up\n")
        assert process.stdout.readline() == b"up\n"
        (partial,) = run()["partials"]
        assert (partial["live"], partial["holder_pid"]) == (True, process.pid)
        assert partial["holder_command"] == "downloader hf_***"
        assert (partial["bytes"], partial["repo_id"]) == (1 << 30, "Qwen/Qwen3-8B-FP8")
        assert partial["allocated_bytes"] < partial["bytes"]
        process.kill()
    (partial,) = run()["partials"]
    assert (partial["live"], partial["holder_pid"], partial["holder_command"]) == (False, None, None)


def test_without_root_nothing_is_called_dead(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add_partial(repo)
    monkeypatch.setattr(hf_locks, "open_files", lambda *_asked: ({}, False))
    (partial,) = run()["partials"]
    assert (partial["live"], partial["reason"]) == (
        None,
        "not all processes can be seen; run this task with become: true",
    )


def test_looking_does_not_disturb_another_look(repo: Repo, run: Run) -> None:
    add_partial(repo)
    lock = repo.path.parent / ".locks" / repo.path.name / f"{ETAG}.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert run()["partials"][0]["live"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "/"}, "path: / is not allowed; use the folder of the cache, like /opt/hf"),
        ({"path": "//"}, "path: // is not allowed; use the folder of the cache, like /opt/hf"),
        ({"path": "cache"}, "path: cache is not absolute; use the whole path, like /opt/hf"),
        (
            {"path": "/etc/hostname"},
            "path: /etc/hostname is not a directory; use the folder of the cache, like /opt/hf",
        ),
        (
            {"models": ["gpt2"]},
            "models: 'gpt2' is not a Hugging Face id; use ORGANIZATION/NAME, like Qwen/Qwen3-8B-FP8",
        ),
    ],
)
def test_refusals(run: Run, options: dict[str, t.Any], message: str) -> None:
    result = run(**options)
    assert (result["failed"], result["msg"]) == (True, message)


def test_a_link_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    message = f"path: {tmp_path}/link is a symbolic link; use the folder itself, {tmp_path}/real"
    assert run(path=str(tmp_path / "link"))["msg"] == message
    assert run(path=f"{tmp_path}/link/")["failed"] is True
