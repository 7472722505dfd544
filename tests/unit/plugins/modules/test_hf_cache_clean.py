# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on caches built in a temporary folder, with real processes that hold real locks and files."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import files as hf_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import layout
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import locks as hf_locks
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_clean
from hf_trees import Run, runner

REPO = "Qwen/Qwen3-8B-FP8"
FOLDER = "models--Qwen--Qwen3-8B-FP8"
OLD, NEW = "a" * 64, "b" * 64
SIZE = 65536

# What a client does: lock, open, write, and then take its time.
DOWNLOADER = """
import fcntl, sys
held = []
for kind, path in zip(sys.argv[1::2], sys.argv[2::2]):
    held.append(open(path, "ab"))
    if kind == "lock":
        fcntl.flock(held[-1], fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""


class Downloader:
    def __init__(self, *held: tuple[str, Path]) -> None:
        argv = [sys.executable, "-c", DOWNLOADER, *(str(word) for pair in held for word in pair)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout and self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(name="run")
def _run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(hf_cache_clean, tmp_path, capsys, monkeypatch)


@pytest.fixture(name="download")
def _download() -> t.Iterator[t.Callable[..., Downloader]]:
    started = []

    def download(*held: tuple[str, Path]) -> Downloader:
        started.append(Downloader(*held))
        return started[-1]

    yield download
    for each in started:
        each.kill()


def a_file(path: Path, content: bytes = b"x" * SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(name="partial")
def _partial(tmp_path: Path) -> Path:
    """A dead partial, beside everything that must stay."""
    a_file(tmp_path / FOLDER / "refs" / "main", b"c" * 40)
    a_file(tmp_path / FOLDER / "blobs" / NEW)
    a_file(tmp_path / FOLDER / "blobs" / "not-a-blob.incomplete")
    a_file(tmp_path / FOLDER / f"{NEW}.incomplete")  # not in blobs/
    a_file(tmp_path / ".locks" / FOLDER / f"{OLD}.lock", b"")
    a_file(Path(layout.vllm_lock(str(tmp_path), REPO)), b"")
    return a_file(tmp_path / FOLDER / "blobs" / f"{OLD}.incomplete")


def etag_lock(root: Path, etag: str = OLD) -> Path:
    return root / ".locks" / FOLDER / f"{etag}.lock"


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_check_real_check_real(partial: Path, tmp_path: Path, run: Run) -> None:
    allocated = partial.stat().st_blocks * 512
    everything = tree(tmp_path)
    removed = [
        {
            "path": str(partial),
            "class": "partials",
            "size": SIZE,
            "bytes": allocated,
            "reason": "nobody downloads it: not locked, and no process has it open",
        }
    ]
    check = run(_ansible_check_mode=True, _ansible_diff=True)
    assert (check["changed"], check["removed"], check["bytes_freed"]) == (True, removed, allocated)
    assert check["diff"] == {"before": f"{partial} {allocated}\n", "after": ""}
    assert tree(tmp_path) == everything

    real = run(_ansible_diff=True)
    assert {key: real[key] for key in check if key != "invocation"} == {
        key: check[key] for key in check if key != "invocation"
    }
    everything.remove(str(partial.relative_to(tmp_path)))
    assert tree(tmp_path) == everything

    for again in (run(_ansible_check_mode=True), run()):
        assert (again["changed"], again["removed"], again["kept"], again["bytes_freed"]) == (False, [], [], 0)
        assert "diff" not in again


def test_partials_of_both_clients_in_both_trees(tmp_path: Path, run: Run) -> None:
    wanted = [
        a_file(tmp_path / FOLDER / "blobs" / f"{OLD}.incomplete"),
        a_file(tmp_path / FOLDER / "blobs" / f"{OLD}.0123abcd.incomplete"),
        a_file(tmp_path / "hub" / FOLDER / "blobs" / f"{'d' * 40}.incomplete"),
        a_file(tmp_path / "org" / "name" / ".cache" / "huggingface" / "download" / f"hash.{OLD}.incomplete"),
    ]
    assert {file["path"] for file in run()["removed"]} == {str(path) for path in wanted}
    assert not any(path.exists() for path in wanted)


def test_only_the_named_models(partial: Path, tmp_path: Path, run: Run) -> None:
    other = a_file(tmp_path / "models--org--other" / "blobs" / f"{OLD}.incomplete")
    plain = a_file(tmp_path / "plain" / ".cache" / "huggingface" / "download" / f"hash.{OLD}.incomplete")
    assert [file["path"] for file in run(models=["org/other"])["removed"]] == [str(other)]
    assert partial.exists() and plain.exists()


def test_a_download_is_kept_until_it_is_killed(
    partial: Path, tmp_path: Path, run: Run, download: t.Callable[..., Downloader]
) -> None:
    dead = a_file(partial.with_name(f"{NEW}.0123abcd.incomplete"))
    downloader = download(("lock", etag_lock(tmp_path)), ("open", partial))
    result = run(_ansible_diff=True)
    assert [file["path"] for file in result["removed"]] == [str(dead)]
    (kept,) = result["kept"]
    assert (kept["path"], kept["reason"], kept["holder_pid"]) == (str(partial), "a process has it open", downloader.pid)
    assert kept["holder_command"] == f"{sys.executable} -c"
    assert result["diff"]["after"] == f"{partial} {kept['bytes']}\n"

    downloader.kill()
    result = run()
    assert [file["path"] for file in result["removed"]] == [str(partial)]
    assert result["kept"] == []
    assert etag_lock(tmp_path).exists()


@pytest.mark.parametrize("held", ["lock", "open"])
def test_one_sign_of_life_is_enough(
    held: str, partial: Path, tmp_path: Path, run: Run, download: t.Callable[..., Downloader]
) -> None:
    downloader = download((held, etag_lock(tmp_path) if held == "lock" else partial))
    result = run()
    assert (result["changed"], result["kept"][0]["holder_pid"]) == (False, downloader.pid)
    assert partial.exists()


@pytest.mark.parametrize("tree_of_partial", ["", "hub"])
def test_the_lock_of_vllm_keeps_every_partial_of_the_model(
    tree_of_partial: str, tmp_path: Path, run: Run, download: t.Callable[..., Downloader]
) -> None:
    partial = a_file(tmp_path / tree_of_partial / FOLDER / "blobs" / f"{OLD}.incomplete")
    other = a_file(tmp_path / "models--org--other" / "blobs" / f"{OLD}.incomplete")
    lock = a_file(Path(layout.vllm_lock(str(tmp_path), REPO)), b"")
    downloader = download(("lock", lock))
    result = run()
    assert [file["path"] for file in result["removed"]] == [str(other)]
    (kept,) = result["kept"]
    assert (kept["path"], kept["reason"]) == (str(partial), f"a download holds {lock}")
    assert kept["holder_pid"] == downloader.pid


def test_a_download_into_a_plain_folder_is_kept(
    tmp_path: Path, run: Run, download: t.Callable[..., Downloader]
) -> None:
    folder = tmp_path / "plain" / ".cache" / "huggingface" / "download"
    partial = a_file(folder / f"hash.{OLD}.incomplete")
    lock = a_file(folder / "model.safetensors.lock", b"")
    downloader = download(("lock", lock))
    assert run()["kept"][0]["holder_pid"] == downloader.pid
    downloader.kill()
    assert [file["path"] for file in run()["removed"]] == [str(partial)]


def test_no_lock_is_ever_made(tmp_path: Path, run: Run) -> None:
    a_file(tmp_path / FOLDER / "blobs" / f"{OLD}.incomplete")
    assert run()["changed"] is True
    assert not list(tmp_path.rglob("*.lock"))


def test_the_locks_are_held_while_it_is_removed(
    partial: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, refused = hf_files.remove, []

    def a_client_comes_along(*args: t.Any) -> int | None:
        for lock in (etag_lock(tmp_path), Path(layout.vllm_lock(str(tmp_path), REPO))):
            with lock.open("ab") as file, pytest.raises(BlockingIOError) as error:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            refused.append(error.value.errno)
        return remove(*args)

    monkeypatch.setattr(hf_files, "remove", a_client_comes_along)
    assert run()["changed"] is True
    assert refused == [errno.EAGAIN, errno.EAGAIN]
    with etag_lock(tmp_path).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def between_scan_and_removal(monkeypatch: pytest.MonkeyPatch, event: t.Callable[[], t.Any]) -> None:
    look = hf_locks.open_files

    def look_and_let_it_happen(*asked: t.Any) -> t.Any:
        event()
        return look(*asked)[0], True

    monkeypatch.setattr(hf_locks, "open_files", look_and_let_it_happen)


@pytest.mark.parametrize("check_mode", [False, True])
def test_it_vanishes_meanwhile(check_mode: bool, partial: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    between_scan_and_removal(monkeypatch, partial.unlink)
    result = run(_ansible_check_mode=check_mode)
    assert (result["changed"], result["removed"], result["kept"], result["bytes_freed"]) == (False, [], [], 0)
    assert "failed" not in result


def test_another_file_takes_its_name_meanwhile(partial: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = a_file(partial.with_name("newer"), b"newer")
    between_scan_and_removal(monkeypatch, lambda: newer.replace(partial))
    assert run()["changed"] is False
    assert partial.read_bytes() == b"newer"


def test_the_folder_becomes_a_link_meanwhile(
    partial: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere"

    def swap() -> None:
        partial.parent.rename(moved)
        partial.parent.symlink_to(moved)

    between_scan_and_removal(monkeypatch, swap)
    assert run()["changed"] is False
    assert (moved / partial.name).exists()


def test_links_and_folders_are_never_removed(tmp_path: Path, run: Run) -> None:
    target = a_file(tmp_path / "precious")
    blobs = tmp_path / FOLDER / "blobs"
    (blobs / f"{NEW}.incomplete").mkdir(parents=True)
    (blobs / f"{OLD}.incomplete").symlink_to(target)
    everything = tree(tmp_path)
    assert run()["changed"] is False
    assert tree(tmp_path) == everything


def test_bytes_are_what_the_disk_gets_back(tmp_path: Path, run: Run) -> None:
    holes = a_file(tmp_path / FOLDER / "blobs" / f"{OLD}.incomplete")
    os.truncate(holes, 1 << 30)
    linked = a_file(tmp_path / FOLDER / "blobs" / f"{NEW}.incomplete")
    os.link(linked, tmp_path / "second-name")
    allocated = holes.stat().st_blocks * 512
    result = run()
    assert {file["path"]: file["bytes"] for file in result["removed"]} == {str(holes): allocated, str(linked): 0}
    assert result["bytes_freed"] == allocated < 1 << 30


def test_a_soft_lock_is_left_to_the_operator(partial: Path, tmp_path: Path, run: Run) -> None:
    etag_lock(tmp_path).write_text("4242\nspark01\n")
    (kept,) = run()["kept"]
    assert kept["reason"] == f"{etag_lock(tmp_path)} is a soft lock; if no download runs, remove it by hand"
    assert partial.exists()


def test_a_file_system_without_flock(partial: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: t.Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (kept,) = run()["kept"]
    assert "cannot be locked: Function not implemented" in kept["reason"]
    assert partial.exists()


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "lustre", "gpfs", "fuse.sshfs"])
def test_a_network_file_system(kind: str, partial: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_locks, "filesystem_type", lambda *_args: kind)
    result = run()
    assert (result["changed"], result["kept"][0]["reason"]) == (False, f"flock is not reliable on {kind}")
    assert partial.exists()


def test_a_lock_that_is_no_plain_file(partial: Path, tmp_path: Path, run: Run) -> None:
    etag_lock(tmp_path).unlink()
    etag_lock(tmp_path).symlink_to(a_file(tmp_path / "elsewhere", b""))
    assert "cannot be opened" in run()["kept"][0]["reason"]
    assert partial.exists()


def test_without_root_nothing_is_removed(partial: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_locks, "open_files", lambda *_asked: ({}, False))
    result = run()
    assert result["kept"][0]["reason"] == "not all processes can be seen; run this task with become: true"
    assert partial.exists()


def test_the_disk_refuses(partial: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: t.Any, **_options: t.Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "unlink", refuse)
    result = run()
    assert (result["changed"], result["kept"][0]["reason"]) == (False, "cannot be removed: Read-only file system")


@pytest.mark.parametrize("path", ["absent", "empty"])
def test_nothing_to_do(path: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    result = run(path=str(tmp_path / path))
    assert (result["changed"], result["removed"], result["kept"], result["bytes_freed"]) == (False, [], [], 0)


@pytest.mark.parametrize("options", [{"path": "/"}, {"path": "cache"}, {"path": "/etc/hostname"}, {"models": ["../x"]}])
def test_refusals(run: Run, options: dict[str, t.Any]) -> None:
    result = run(**options)
    assert result["failed"] is True
    assert "; use " in result["msg"]
