# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on caches built in a temporary folder, with real processes that hold real locks and files."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks as hf_locks
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import snapshot
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_info
from hf_trees import COMMIT, SHARDS, LocalFolder, Repo, Run, runner, safetensors

OTHER_COMMIT = "d" * 40
ETAG = "e" * 64


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


def break_index(repo: Repo) -> None:
    repo.blob("model.safetensors.index.json").write_text("{")


def empty_ref(repo: Repo) -> None:
    repo.ref(commit="")


def other_ref(repo: Repo) -> None:
    repo.ref(commit=OTHER_COMMIT)


def drop_snapshots(repo: Repo) -> None:
    shutil.rmtree(repo.path / "snapshots")
    shutil.rmtree(repo.path / "refs")


def add_partial(repo: Repo) -> None:
    (repo.path / "blobs" / f"{ETAG}.incomplete").write_text("x")


def link_out(repo: Repo) -> None:
    (repo.path / "snapshots" / COMMIT / "notes.txt").symlink_to("/etc/hostname")


def truncate(repo: Repo) -> None:
    repo.manifest(config__json=2, **{SHARDS[0].replace(".", "__"): 99_999})


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


# --- what is broken --------------------------------------------------------------------------------------------------


def states(result: dict[str, t.Any]) -> list[tuple[str, str | None]]:
    return sorted(((broken["state"], broken["file"]) for broken in result["broken"]), key=str)


def cut(repo: Repo) -> None:
    os.truncate(repo.blob(SHARDS[0]), 60)


def grow(repo: Repo) -> None:
    with repo.blob(SHARDS[0]).open("ab") as file:
        file.write(b"more")


def empty(repo: Repo) -> None:
    os.truncate(repo.blob(SHARDS[0]), 0)


def pointer(repo: Repo) -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{ETAG}\nsize 4900000000\n"
    repo.blob(SHARDS[0]).write_text(text)


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
