# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hf_cache_clean removes beside partials: broken files of every class, and models that nobody names."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import clean, content, layout, locks, snapshot
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_clean
from hf_trees import SHARDS, LocalFolder, Repo, Run, cut, paths, runner, safetensors, tree

MODEL = "Qwen/Qwen3-8B-FP8"
ALL = list(clean.CLASSES)
OTHER_COMMIT = "d" * 40


@pytest.fixture(name="run")
def _run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(hf_cache_clean, tmp_path, capsys, monkeypatch)


@pytest.fixture(name="repo")
def _repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path).model()


def state_of(repo: Repo) -> content.Content:
    look = layout.Look()
    (repository,) = layout.find_repositories(str(repo.root), [MODEL], look)
    return snapshot.scan_repository(repository, content.Asked(), look)


# --- each class: it is found, only it goes, and the client has to load it anew ---------------------------------------


def empty(repo: Repo) -> list[Path]:
    os.truncate(repo.blob(SHARDS[0]), 0)
    return [repo.blob(SHARDS[0]), repo.file(SHARDS[0])]


def pointer(repo: Repo) -> list[Path]:
    repo.blob(SHARDS[0]).write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'e' * 64}\nsize 4900000\n"
    )
    return [repo.blob(SHARDS[0]), repo.file(SHARDS[0])]


def bad_config(repo: Repo) -> list[Path]:
    repo.blob("config.json").write_text("{")
    return [repo.blob("config.json"), repo.file("config.json")]


def spoil(repo: Repo) -> list[Path]:
    path = repo.blob(SHARDS[0])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    return [path, repo.file(SHARDS[0])]


def hole(repo: Repo) -> list[Path]:
    path = repo.path / "blobs" / ("e" * 64)
    with path.open("wb") as file:
        file.truncate(1 << 20)
    return [path, repo.link("extra.bin", path.name)]


def dangle(repo: Repo) -> list[Path]:
    repo.blob(SHARDS[0]).unlink()
    return [repo.file(SHARDS[0])]


def half_ref(repo: Repo) -> list[Path]:
    return [repo.ref("v1", "0123"), repo.ref("v2", ""), repo.ref("v3", OTHER_COMMIT)]


def waste(repo: Repo) -> list[Path]:
    blob = repo.add("old.txt", "old")
    repo.file("old.txt").unlink()
    return [blob]


def probe(repo: Repo) -> list[Path]:
    names = [
        "blobs/tmp_0f8fad5b-d9cb-469f-a165-70867728950e",
        "tmp_0f8fad5b-d9cb-469f-a165-70867728950e",
        f"blobs/.{'e' * 64}.0123abcd.old",
        "refs/main.0123abcd.tmp",
        "trees/tmpabcd1234.tmp",
    ]
    (repo.path / "trees").mkdir()
    for name in names:
        (repo.path / name).touch()
    return [repo.path / name for name in names]


DAMAGES = [
    (cut, "truncated"),
    (empty, "empty"),
    (pointer, "lfs_pointers"),
    (bad_config, "invalid_json"),
    (spoil, "corrupt"),
    (hole, "sparse"),
    (dangle, "dangling_links"),
    (half_ref, "refs"),
    (waste, "unreferenced"),
    (probe, "probes"),
]


@pytest.mark.parametrize(("damage", "chosen"), DAMAGES)
def test_a_class_and_nothing_else(
    repo: Repo, tmp_path: Path, run: Run, damage: t.Callable[[Repo], list[Path]], chosen: str
) -> None:
    gone = {str(path.relative_to(tmp_path)) for path in damage(repo)}
    before = tree(tmp_path)
    others = [each for each in ALL if each not in (chosen, "corrupt")]
    if chosen == "sparse":
        others.remove("unreferenced")
    assert run(classes=others)["changed"] is False
    check = run(classes=[chosen], _ansible_check_mode=True, _ansible_diff=True)
    assert tree(tmp_path) == before
    real = run(classes=[chosen], _ansible_diff=True)
    assert real["removed"] == check["removed"]
    assert real["diff"] == check["diff"]
    assert paths(tmp_path, real["removed"]) == gone
    assert tree(tmp_path) == before - gone
    assert real["kept"] == []
    assert run(classes=ALL)["changed"] is False


def test_the_next_download_has_to_load_it(repo: Repo, run: Run) -> None:
    for damage in (cut, bad_config):
        damage(repo)
    run(classes=["truncated", "invalid_json"])
    content = state_of(repo)
    assert (content.complete, sorted(content.missing)) == (False, ["config.json", SHARDS[0]])
    repo.add(SHARDS[0], safetensors(16))
    repo.add("config.json", "{}")
    assert state_of(repo).complete is True


def test_all_links_to_a_bad_blob_go(repo: Repo, run: Run) -> None:
    blob, link = cut(repo)
    twin = repo.link("sub/copy.safetensors", blob.name, OTHER_COMMIT)
    removed = run(classes=["truncated"])["removed"]
    assert {entry["path"] for entry in removed} == {str(blob), str(link), str(twin)}
    assert {entry["class"] for entry in removed} == {"truncated"}
    assert not any(os.path.lexists(path) for path in (blob, link, twin))


def test_bytes_of_a_bad_blob(repo: Repo, run: Run) -> None:
    blob, _link = spoil(repo)
    allocated, size = blob.stat().st_blocks * 512, blob.stat().st_size
    result = run(classes=["corrupt"])
    first = result["removed"][0]
    assert (first["path"], first["size"], first["bytes"]) == (str(blob), size, allocated)
    assert first["reason"] == f"its content is not what its name says ({SHARDS[0]})"
    assert result["bytes_freed"] == sum(entry["bytes"] for entry in result["removed"]) >= allocated


def test_sparse_files_with_the_right_content_stay(repo: Repo, run: Run) -> None:
    data = bytes(1 << 20)
    blob = repo.add("zeros.bin", data)
    os.truncate(blob, 0)
    os.truncate(blob, len(data))
    assert blob.stat().st_blocks == 0
    assert run(classes=ALL)["changed"] is False


@pytest.mark.parametrize("held", ["etag lock", "lock of vLLM", "partial"])
def test_nothing_of_a_repository_goes_while_it_is_downloaded(repo: Repo, tmp_path: Path, run: Run, held: str) -> None:
    for damage in (cut, half_ref, waste, bad_config):
        damage(repo)
    place = {
        "etag lock": tmp_path / ".locks" / repo.path.name / f"{'f' * 64}.lock",
        "lock of vLLM": Path(layout.vllm_lock(str(tmp_path), MODEL)),
        "partial": repo.path / "blobs" / f"{'f' * 64}.0123abcd.incomplete",
    }[held]
    place.parent.mkdir(parents=True, exist_ok=True)
    before = tree(tmp_path) | {str(place.relative_to(tmp_path)), *map(str, place.relative_to(tmp_path).parents)} - {"."}
    script = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline()
        result = run(classes=ALL)
        assert (result["changed"], {entry["holder_pid"] for entry in result["kept"]}) == (False, {process.pid})
        assert {entry["class"] for entry in result["kept"]} >= {"truncated", "refs", "unreferenced", "invalid_json"}
        assert tree(tmp_path) == before
        process.kill()
    assert run(classes=ALL)["changed"] is True


def test_locks_are_held_while_a_bad_blob_goes(
    repo: Repo, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, _link = cut(repo)
    lock = tmp_path / ".locks" / repo.path.name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    remove, seen = clean.hf_files.remove, []

    def a_client_comes_along(*asked: t.Any) -> int | None:
        with lock.open("ab") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(asked[1])
        return remove(*asked)

    monkeypatch.setattr(clean.hf_files, "remove", a_client_comes_along)
    run(classes=["truncated"])
    assert seen == [str(blob), str(repo.file(SHARDS[0]))]  # the blob first


def test_a_blob_that_gets_a_link_meanwhile_stays(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (blob,) = waste(repo)
    look = locks.open_files

    def link(*asked: t.Any) -> t.Any:
        repo.link("new.txt", blob.name)
        return look(*asked)

    monkeypatch.setattr(locks, "open_files", link)
    result = run(classes=["unreferenced"])
    assert (result["changed"], result["kept"][0]["reason"]) == (False, "it changed meanwhile")
    assert blob.exists()


def test_a_link_whose_blob_comes_meanwhile_stays(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    blob, data = repo.blob(SHARDS[0]), repo.blob(SHARDS[0]).read_bytes()
    dangle(repo)
    look = locks.open_files

    def finish(*asked: t.Any) -> t.Any:
        blob.write_bytes(data)
        return look(*asked)

    monkeypatch.setattr(locks, "open_files", finish)
    assert run(classes=["dangling_links"])["changed"] is False
    assert state_of(repo).complete is True


def test_a_fresh_ref_stays(repo: Repo, run: Run) -> None:
    ref = repo.ref("v1", "")
    os.utime(ref)
    result = run(classes=["refs"])
    assert (result["changed"], result["kept"][0]["reason"]) == (
        False,
        "written a moment ago: a download may be about to start",
    )


def test_a_client_that_comes_before_the_lock_is_made(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock file there is nothing to hold: an old client may go on with the very file that is to go."""
    partial = repo.path / "blobs" / f"{'f' * 64}.incomplete"
    partial.write_bytes(b"x" * 4096)
    rename, started = clean.hf_files.rename, []

    def a_client_opens_it(*asked: t.Any) -> bool:
        if not started:
            script = "import sys; f = open(sys.argv[1], 'ab'); print(flush=True); sys.stdin.read()"
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", script, str(partial)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            assert started[0].stdout and started[0].stdout.readline()
        return rename(*asked)

    monkeypatch.setattr(clean.hf_files, "rename", a_client_opens_it)
    result = run()
    (process,) = started
    try:
        assert (result["changed"], result["kept"][0]["holder_pid"]) == (False, process.pid)
        assert [path.name for path in partial.parent.glob("*.incomplete")] == [partial.name]
    finally:
        process.kill()
        process.communicate()
    assert run()["changed"] is True


# --- plain folders ---------------------------------------------------------------------------------------------------


def test_bad_files_in_plain_folders(tmp_path: Path, run: Run) -> None:
    folder = LocalFolder(tmp_path / "qwen3")
    short, wrong = folder.add("a.safetensors", safetensors()), folder.add("b.safetensors", safetensors(99))
    fine = folder.add("config.json", b"{}")
    os.truncate(short, 60)
    wrong.write_bytes(safetensors(99, b"y"))
    assert paths(tmp_path, run(classes=["truncated"])["removed"]) == {"qwen3/a.safetensors"}
    assert paths(tmp_path, run(classes=["corrupt"])["removed"]) == {"qwen3/b.safetensors"}
    assert fine.exists()


def test_a_plain_folder_that_is_being_filled(tmp_path: Path, run: Run) -> None:
    folder = LocalFolder(tmp_path / "qwen3")
    os.truncate(folder.add("a.safetensors", safetensors()), 60)
    with (folder.download / "a.safetensors.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(classes=["truncated"])["changed"] is False
    assert run(classes=["truncated"])["changed"] is True
