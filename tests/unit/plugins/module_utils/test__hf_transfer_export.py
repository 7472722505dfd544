# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is exported to another host: a complete snapshot, every byte right, and no more."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import export, model_files

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "modules"))
from hf_trees import COMMIT, SHARDS, Repo, safetensors

MODEL = "Qwen/Qwen3-8B-FP8"


def record(repo: Repo) -> None:
    """The list that hf_download keeps."""
    files = {
        link.relative_to(repo.path / "snapshots" / COMMIT).as_posix(): model_files.File(
            link.stat().st_size, os.path.basename(os.readlink(link))
        )
        for link in (repo.path / "snapshots" / COMMIT).rglob("*")
        if link.is_symlink()
    }
    model_files.record(str(repo.path), COMMIT, files)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path).model()


def find(repo: Repo, revision: str = "main") -> export.Export:
    return export.find(str(repo.root), MODEL, revision)


def verify(exported: export.Export, repo: Repo) -> int:
    return export.verify(exported, str(repo.path), f"{repo.root}-run")


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_complete_model_is_exported(repo: Repo, revision: str) -> None:
    repo.manifest(config__json=2)
    exported = find(repo, revision)
    assert (exported.root, exported.commit) == (str(repo.root), COMMIT)
    assert set(exported.files) == {"config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS}
    for name, etag in exported.files.items():
        assert (repo.root / exported.blobs[etag].path).read_bytes() == repo.file(name).read_bytes()
        assert exported.blobs[etag].size == repo.file(name).stat().st_size
    assert set(exported.lists) == {f"trees/{COMMIT}.json"}
    assert exported.size == sum(path.stat().st_size for path in (repo.path / "blobs").iterdir())


def test_the_tree_below_hub_is_found_too(tmp_path: Path) -> None:
    Repo(tmp_path / "hub").model()
    assert export.find(str(tmp_path), MODEL, "main").root == str(tmp_path / "hub")


def test_a_blob_in_the_shared_store_is_read_there(repo: Repo) -> None:
    blob = repo.share("extra.safetensors", safetensors(50))
    exported = find(repo)
    assert exported.blobs[blob.name].path == f"blobs/55/{'5' * 64}"
    assert verify(exported, repo) == exported.size


def test_a_disk_without_links_needs_the_list(repo: Repo) -> None:
    record(repo)
    for name in find(repo).files:
        content = repo.file(name).read_bytes()
        repo.file(name).unlink()
        repo.file(name).write_bytes(content)
    shutil.rmtree(repo.path / "blobs")
    exported = find(repo)
    assert exported.blobs[exported.files["config.json"]].path == f"{repo.path.name}/snapshots/{COMMIT}/config.json"
    assert verify(exported, repo) == exported.size
    (repo.path / ".dgxspark" / f"{COMMIT}.json").unlink()
    with pytest.raises(export.ExportError, match="no list says which hash"):
        find(repo)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda repo: repo.blob(SHARDS[1]).unlink(), "lacks model-00002"),
        (lambda repo: os.truncate(repo.blob(SHARDS[0]), 9), "lacks model-00001"),
        (lambda repo: shutil.rmtree(repo.path), "is not there in"),
        (lambda repo: shutil.rmtree(repo.root), "does not exist"),
        (lambda repo: repo.file("evil").symlink_to("/etc/passwd"), "is not a link to a blob"),
        (lambda repo: repo.link("gone.txt", "0" * 40), "gone.txt leads out of .*, or to no file"),
    ],
)
def test_what_is_not_whole_is_not_exported(repo: Repo, damage: t.Callable[[Repo], None], said: str) -> None:
    damage(repo)
    with pytest.raises(export.ExportError, match=said):
        find(repo)


def test_a_blob_that_leads_out_of_the_cache_is_not_exported(
    repo: Repo, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("secret")
    (repo.path / "blobs" / ("1" * 64)).symlink_to(outside)
    repo.link("secret.txt", "1" * 64)
    with pytest.raises(export.ExportError, match="leads out of"):
        find(repo)


@pytest.mark.parametrize("kind", ["trees", ".dgxspark"])
@pytest.mark.parametrize("deep", [True, False])
def test_a_list_that_leads_out_of_the_cache_is_not_told(
    repo: Repo, tmp_path_factory: pytest.TempPathFactory, kind: str, deep: bool
) -> None:
    outside = tmp_path_factory.mktemp("outside") / f"{COMMIT}.json"
    outside.write_text("secret")
    if deep:
        (repo.path / kind).mkdir()
        (repo.path / kind / outside.name).symlink_to(outside)
    else:
        (repo.path / kind).symlink_to(outside.parent)
    assert find(repo).lists == {}


def test_nothing_is_noted_outside_of_the_cache(repo: Repo, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (repo.path / ".dgxspark").symlink_to(outside)
    with pytest.raises(OSError, match="leads out of"):
        verify(find(repo), repo)
    with pytest.raises(OSError, match="leads out of"):
        record(repo)
    assert list(outside.iterdir()) == []


def test_what_was_hashed_is_hashed_again_only_when_it_changed(repo: Repo) -> None:
    exported = find(repo)
    assert verify(exported, repo) == exported.size
    assert verify(exported, repo) == 0
    blob = repo.blob(SHARDS[0])
    before = blob.stat()
    blob.write_bytes(blob.read_bytes()[:-1] + b"y")
    for _again in range(1000):  # as if nobody had been there; until the clock of the kernel has gone on
        os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
        if blob.stat().st_ctime_ns != before.st_ctime_ns:
            break
        time.sleep(0.001)
    assert blob.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(export.ExportError, match=rf"{SHARDS[0]} \(its content is not what its name says\)"):
        verify(exported, repo)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    assert verify(exported, repo) == before.st_size


def test_hosts_that_ask_at_once_make_it_read_once(repo: Repo) -> None:
    exported, read = find(repo), []
    threads = [threading.Thread(target=lambda: read.append(verify(exported, repo))) for _host in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read) == [0, 0, 0, 0, exported.size]


def test_an_export_survives_the_journey(repo: Repo) -> None:
    exported = find(repo)
    assert export.parse(json.loads(json.dumps(export.describe(exported)))) == exported


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "../../etc"},
        {"files": {"../../../etc/cron.d/x": "a" * 40}},
        {"files": {"/etc/passwd": "a" * 40}},
        {"files": {"a//b": "a" * 40}},
        {"blobs": {"../x": {"size": 1, "path": "x"}}, "files": {"x": "../x"}},
        {"blobs": {"a" * 40: {"size": -1, "path": "x"}}},
        {"blobs": {"a" * 40: {"size": 1, "path": "../x"}}},
        {"blobs": {"a" * 40: {"size": "many", "path": "x"}}},
        {"blobs": None},
        {"lists": {"refs/main": "x"}},
    ],
)
def test_an_export_with_other_names_is_refused(change: dict[str, t.Any]) -> None:
    told = {
        "root": "/opt/hf",
        "commit": COMMIT,
        "files": {"config.json": "a" * 40},
        "blobs": {"a" * 40: {"size": 1, "path": f"models--a--b/blobs/{'a' * 40}"}},
        "lists": {},
    }
    assert export.parse(told).size == 1
    with pytest.raises(export.ExportError, match="^export: "):
        export.parse({**told, **change})


def test_nobody_waits_for_ever(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock in the cache counts for nothing, and that of another run not for ever."""
    (repo.path / ".dgxspark").mkdir()
    monkeypatch.setattr(export, "PATIENCE", 0.3)
    run = Path(f"{repo.root}-run")
    run.mkdir()
    with (repo.path / ".dgxspark" / "verify.lock").open("w") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        assert verify(find(repo), repo) > 0
    other = os.open(run, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(export.ExportError, match="another run has been verifying a model"):
        verify(find(repo), repo)
    os.close(other)


def test_a_name_that_is_not_utf_8_is_refused_in_one_line(repo: Repo) -> None:
    os.symlink("../../blobs/" + "a" * 40, os.fsencode(repo.file("x")) + b"\xff")
    with pytest.raises(export.ExportError, match=r"x\\xff has a name that is not UTF-8; rename or remove that file$"):
        find(repo)
