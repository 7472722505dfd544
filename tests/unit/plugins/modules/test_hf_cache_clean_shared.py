# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""hf_cache_clean on the shared store, models that no one wants, and places where no lock is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import clean, layout, locks
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_clean
from hf_trees import COMMIT, SHARDS, LocalFolder, Repo, Run, cut, paths, runner, tree

MODEL = "Qwen/Qwen3-8B-FP8"
ALL = list(clean.CLASSES)


@pytest.fixture(name="run")
def _run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(hf_cache_clean, tmp_path, capsys, monkeypatch)


@pytest.fixture(name="repo")
def _repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path).model()


# --- the shared store ------------------------------------------------------------------------------------------------


def test_a_bad_payload_goes_with_everybody_who_has_it(repo: Repo, tmp_path: Path, run: Run) -> None:
    """Or the next download would find it in the store, of the right size, and link to it again."""
    twin = Repo(tmp_path, "org/twin")
    mine, others = repo.share("extra.bin", b"12345"), twin.share("extra.bin", b"12345")
    payload = mine.resolve()
    payload.write_bytes(b"54321")
    result = run(models=[MODEL], classes=["corrupt"])
    assert {entry["path"] for entry in result["removed"]} == {
        str(mine),
        str(repo.file("extra.bin")),
        str(others),
        str(twin.file("extra.bin")),
    }
    assert not payload.exists() and not os.path.lexists(mine) and not os.path.lexists(others)
    assert not payload.with_name(f"{payload.name}.refs").exists()
    assert payload.with_name(f"{payload.name}.lock").exists()
    assert result["bytes_freed"] >= 4096


@pytest.mark.parametrize("place", [".locks/models--org--twin/LOCK", "VLLM", "models--org--twin/blobs/PARTIAL"])
def test_a_bad_payload_stays_while_somebody_else_who_has_it_is_downloaded(
    repo: Repo, tmp_path: Path, run: Run, place: str
) -> None:
    twin = Repo(tmp_path, "org/twin")
    payload = repo.share("extra.bin", b"12345").resolve()
    twin.share("extra.bin", b"12345")
    payload.write_bytes(b"54321")
    vllm = os.path.relpath(layout.vllm_lock(str(tmp_path), "org/twin"), tmp_path)
    held = tmp_path / place.replace("LOCK", f"{'f' * 64}.lock").replace("VLLM", vllm)
    held = held.with_name(held.name.replace("PARTIAL", f"{'f' * 64}.incomplete"))
    held.parent.mkdir(parents=True, exist_ok=True)
    held.touch()
    before = tree(tmp_path)
    script = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline()
        for check_mode in (True, False):
            result = run(models=[MODEL], classes=["corrupt"], _ansible_check_mode=check_mode)
            (kept,) = result["kept"]
            assert (result["changed"], kept["holder_pid"]) == (False, process.pid)
            assert kept["reason"].startswith(f"shared with {twin.path}: ")
        assert tree(tmp_path) == before
        process.kill()
    assert run(models=[MODEL], classes=["corrupt"])["changed"] is True
    assert not payload.exists()


def test_a_client_of_somebody_else_who_has_it_comes_meanwhile(
    repo: Repo, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = repo.share("extra.bin", b"12345").resolve()
    twin = Repo(tmp_path, "org/twin")
    blob = twin.share("extra.bin", b"12345")
    payload.write_bytes(b"54321")
    look, lock = locks.open_files, tmp_path / ".locks" / twin.path.name / f"{'f' * 64}.lock"

    def begin(wanted: t.Any, names: t.Any = ()) -> t.Any:
        if blob.name in names and len(set(wanted)) == 1 and (blob.lstat().st_dev, blob.lstat().st_ino) in wanted:
            lock.parent.mkdir(parents=True)
            lock.touch()
        return look(wanted, names)

    monkeypatch.setattr(locks, "open_files", begin)
    result = run(models=[MODEL], classes=["corrupt"])
    assert (result["changed"], result["kept"][0]["reason"]) == (False, "a download began meanwhile")


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_check_mode_tells_a_shared_payload_once(repo: Repo, tmp_path: Path, run: Run, kind: str) -> None:
    twin = Repo(tmp_path, MODEL if kind == "datasets" else "org/twin", kind)  # a data set has the model's own lock
    Path(layout.vllm_lock(str(tmp_path), MODEL)).touch()
    payload = repo.share("extra.bin", b"12345").resolve()
    twin.share("extra.bin", b"12345")
    payload.write_bytes(b"54321")
    check = run(classes=ALL, _ansible_check_mode=True, _ansible_diff=True)
    real = run(classes=ALL, _ansible_diff=True)
    assert len(check["removed"]) == 4
    assert (check["removed"], check["kept"], check["diff"]) == (real["removed"], [], real["diff"])


def test_check_mode_prunes_a_shared_payload_with_its_last_user(
    repo: Repo, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "user_of", lambda _names: None)  # another run of these tests has the same names
    payload = repo.share("extra.bin", b"12345").resolve()
    Repo(tmp_path, "org/twin").share("extra.bin", b"12345")
    check = run(classes=ALL, keep_models=["org/nobody"], _ansible_check_mode=True)
    assert payload.exists()
    assert check["removed"] == run(classes=ALL, keep_models=["org/nobody"])["removed"]
    assert not payload.exists()


def test_a_payload_goes_with_its_last_user(repo: Repo, tmp_path: Path, run: Run) -> None:
    twin = Repo(tmp_path, "org/twin")
    payload = repo.share("extra.bin", b"12345").resolve()
    twin.share("extra.bin", b"12345")
    assert run(keep_models=["org/twin"])["changed"] is True
    assert payload.exists() and not repo.path.exists()
    result = run(keep_models=["org/nobody"])
    assert not payload.exists() and not twin.path.exists()
    assert result["bytes_freed"] >= 4096


def test_payloads_that_nobody_has(repo: Repo, tmp_path: Path, run: Run) -> None:
    blob = repo.share("extra.bin", b"12345")
    payload = blob.resolve()
    assert run(classes=["unreferenced"])["changed"] is False
    shutil.rmtree(repo.path)
    refs = payload.with_name(f"{payload.name}.refs")
    listed = refs.read_text()
    refs.unlink()
    assert run(classes=["unreferenced"])["changed"] is False  # without the list nobody knows
    refs.write_text(listed)
    assert paths(tmp_path, run(classes=["unreferenced"])["removed"]) == {str(payload.relative_to(tmp_path))}
    assert not payload.exists() and not refs.exists()


# --- models that nobody wants ----------------------------------------------------------------------------------------


@pytest.fixture(name="three")
def _three(tmp_path: Path) -> list[Repo]:
    for other in ("datasets", "spaces"):
        Repo(tmp_path, "org/data", other).add("train.parquet")
    LocalFolder(tmp_path / "plain").add("config.json", b"{}")
    return [Repo(tmp_path).model(), Repo(tmp_path, "org/old").model(), Repo(tmp_path / "hub", "org/old").model()]


def test_models_that_are_not_kept(three: list[Repo], tmp_path: Path, run: Run) -> None:
    keep, *old = three
    gone = {str(repo.path.relative_to(tmp_path)) for repo in old}
    before = tree(tmp_path)
    files = [path.lstat() for repo in old for path in repo.path.rglob("*") if path.is_symlink() or path.is_file()]
    allocated = sum(found.st_blocks * 512 for found in files)
    check = run(keep_models=[MODEL], _ansible_check_mode=True)
    assert tree(tmp_path) == before
    real = run(keep_models=[MODEL])
    assert check["removed"] == real["removed"]
    assert paths(tmp_path, real["removed"]) == gone
    assert {entry["reason"] for entry in real["removed"]} == {"org/old is not in keep_models"}
    assert real["bytes_freed"] == allocated > 0
    assert tree(tmp_path) == {path for path in before if not any(f"{path}/".startswith(f"{repo}/") for repo in gone)}
    assert run(keep_models=[MODEL])["changed"] is False
    assert keep.path.exists()


@pytest.mark.parametrize("place", ["", "hub"])
def test_a_model_without_an_organization_can_be_named(tmp_path: Path, run: Run, place: str) -> None:
    old, other = Repo(tmp_path / place, "gpt2").model(), Repo(tmp_path, "org/gpt3").model()
    os.truncate(old.blob(SHARDS[0]), 60)
    assert run(models=["gpt2"], classes=["truncated"])["changed"] is True
    # without its organization, a name that the cache does not have would keep nothing
    assert run(keep_models=["gpt3"])["msg"].startswith("keep_models: 'gpt3' is not a Hugging Face id")
    assert run(keep_models=["gpt2"])["changed"] is True
    assert old.path.exists() and not other.path.exists()


@pytest.mark.parametrize("how", ["open", "mapped", "shared", "locked"])
def test_a_model_in_use_is_not_pruned(three: list[Repo], tmp_path: Path, run: Run, how: str) -> None:
    _keep, old, _hub = three
    lock = Path(layout.vllm_lock(str(tmp_path), "org/old"))
    lock.touch()
    script = (
        "import fcntl, mmap, sys\n"
        "file = open(sys.argv[2], 'rb')\n"
        "if sys.argv[1] == 'mapped': mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); file.close()\n"
        "if sys.argv[1] == 'locked': fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    place = lock if how == "locked" else old.blob(SHARDS[0])
    if how == "shared":  # a process sees the name in the store
        place = old.share("extra.bin", b"12345").resolve()
    with subprocess.Popen(
        [sys.executable, "-c", script, how, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline()
        result = run(keep_models=[MODEL])
        assert str(old.path) in {entry["path"] for entry in result["kept"]}
        assert {entry["holder_pid"] for entry in result["kept"]} == {process.pid}
        assert all(old.file(name).exists() for name in (*SHARDS, "config.json"))
        process.kill()
    run(keep_models=[MODEL])
    assert not old.path.exists()


def test_links_in_a_pruned_model_lead_nowhere(tmp_path: Path, run: Run) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    old = Repo(tmp_path, "org/old")
    (old.path / "snapshots").mkdir()
    (old.path / "snapshots" / COMMIT).symlink_to(outside)
    (old.path / "blobs" / ("e" * 64)).symlink_to(outside / "precious")
    run(keep_models=[MODEL])
    assert not old.path.exists()
    assert (outside / "precious").read_text() == "x"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_models": []}, "keep_models: the list is empty; use the models that stay, or leave it out"),
        (
            {"keep_models": [MODEL], "models": [MODEL]},
            "keep_models: not together with models; use one of the two",
        ),
        ({"keep_models": ["gpt2"]}, "keep_models: 'gpt2' is not a Hugging Face id; use ORGANIZATION/NAME"),
        ({"classes": ["everything"]}, "value of classes must be one or more of: "),
    ],
)
def test_refusals(run: Run, options: dict[str, t.Any], message: str) -> None:
    assert run(**options)["msg"].startswith(message)


def test_a_folder_that_is_no_cache(tmp_path: Path, run: Run) -> None:
    (tmp_path / "Documents").mkdir()
    assert "is not a Hugging Face cache" in run()["msg"]


# --- where flock lies ------------------------------------------------------------------------------------------------


def test_a_network_file_system_that_is_idle(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "filesystem_type", lambda *_asked: "lustre")
    cut(repo)
    partial = repo.path / "blobs" / f"{'f' * 64}.incomplete"
    partial.touch()
    result = run(classes=ALL, keep_models=["org/other"])
    assert result["changed"] is False
    result = run(classes=ALL)
    assert (result["changed"], {entry["reason"] for entry in result["kept"]}) == (
        False,
        {"flock is not reliable on lustre"},
    )
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=partial.open("ab")) as process:
        kept = run(classes=ALL, assume_idle=True)["kept"]
        assert {entry["holder_pid"] for entry in kept} == {process.pid}
        process.kill()
    assert run(classes=ALL, assume_idle=True)["changed"] is True
    assert not partial.exists()


def test_a_root_that_vanishes(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(repo)
    look = locks.open_files

    def vanish(*asked: t.Any) -> t.Any:
        shutil.rmtree(repo.root, ignore_errors=True)
        return look(*asked)

    monkeypatch.setattr(locks, "open_files", vanish)
    result = run(classes=ALL, keep_models=["org/other"])
    assert "failed" not in result
    assert result["removed"] == []


def test_folders_nested_too_deeply_are_left(repo: Repo, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(*_asked: t.Any) -> int:
        raise RecursionError

    monkeypatch.setattr(clean.hf_files, "_remove_below", deep)
    (kept,) = run(keep_models=["org/other"])["kept"]
    assert kept["reason"] == "cannot be removed: folders are nested too deeply"
    assert repo.path.exists()


@pytest.mark.parametrize("options", [{"classes": ALL}, {"keep_models": ["org/other"]}])
def test_a_client_that_comes_while_the_locks_are_taken(
    repo: Repo, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, options: dict[str, t.Any]
) -> None:
    cut(repo)
    look, lock = locks.open_files, tmp_path / ".locks" / repo.path.name / f"{'f' * 64}.lock"

    def begin(*asked: t.Any) -> t.Any:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        return look(*asked)

    monkeypatch.setattr(locks, "open_files", begin)
    result = run(**options)
    assert (result["changed"], {entry["reason"] for entry in result["kept"]}) == (False, {"a download began meanwhile"})
    assert run(**options)["changed"] is True  # the lock is there and free
