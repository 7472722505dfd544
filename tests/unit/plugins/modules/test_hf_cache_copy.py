# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with a program that stands in for rsync: appends what is missing, and can be cut off anywhere."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.layout import INCOMING
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy as hf_copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import model_files
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_copy
from copy_host import MODEL, Host
from hf_trees import COMMIT, SHARDS

pytestmark = pytest.mark.usefixtures("warm_python")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> t.Iterator[Host]:
    mask = os.umask(0o022)
    yield Host(tmp_path, monkeypatch, capsys)
    os.umask(mask)


def test_a_model_is_copied_once(host: Host) -> None:
    first = host.run(_ansible_diff=True)
    assert (first["changed"], first["complete"], first["commit"]) == (True, True, COMMIT), first
    size = sum(path.stat().st_size for path in (host.source.path / "blobs").iterdir())
    assert (first["blobs"], first["bytes"], first["expected_bytes"]) == (6, size, size)
    assert len(host.copied()) == 6
    assert first["diff"]["before"] == ""
    assert len(first["diff"]["after"].splitlines()) == 6
    host.assert_whole()
    assert [path.name for path in host.repo.rglob("tmp*")] == []
    again = host.run()
    assert (again["changed"], again["complete"], again["blobs"], host.copied()) == (False, True, 0, [])


def test_it_can_be_served_offline_and_says_what_is_missing(host: Host) -> None:
    """A copy of a model that an old client downloaded has the list that this client did not keep."""
    host.run()
    (host.repo / "snapshots" / COMMIT / "tokenizer.json").unlink()
    assert model_files.look_up(str(host.path), MODEL, "main").missing == ["tokenizer.json"]


def test_the_manifest_of_the_client_comes_along(host: Host) -> None:
    host.source.manifest(config__json=2)
    host.run()
    name = f"trees/{COMMIT}.json"
    assert (host.repo / name).read_bytes() == (host.source.path / name).read_bytes()


@pytest.mark.parametrize("right", [True, False])
def test_a_copy_that_broke_off_before_the_last_name_comes_over_once(host: Host, right: bool) -> None:
    blob = host.source.blob(SHARDS[0])
    content = blob.read_bytes() if right else bytes(blob.stat().st_size)
    (host.repo / "blobs").mkdir(parents=True)
    (host.repo / "blobs" / f"{blob.name}.incomplete").write_bytes(content)
    found = host.run()
    assert (found["complete"], len(host.copied())) == (True, 5 if right else 6), found
    host.assert_whole()


def test_a_partial_that_is_a_link_is_none(host: Host) -> None:
    blob = host.source.blob(SHARDS[0])
    (host.repo / "blobs").mkdir(parents=True)
    (host.path / "elsewhere").write_bytes(blob.read_bytes())
    (host.repo / "blobs" / f"{blob.name}.incomplete").symlink_to("../../elsewhere")
    assert host.run()["complete"] is True
    assert len(host.copied()) == 6


@pytest.mark.parametrize("calls", range(6))
def test_a_copy_that_breaks_off_is_not_complete_and_goes_on(host: Host, calls: int) -> None:
    (host.folder / "cut").write_text(str(calls))
    broken = host.run()
    assert broken["msg"].startswith("the address of the source broke off"), broken
    assert model_files.look_up(str(host.path), MODEL, "main").complete is False
    assert not (host.repo / "snapshots").exists()
    assert not (host.repo / "refs").exists()
    left = {path.name: path.stat().st_size for name in ("blobs", INCOMING) for path in (host.repo / name).iterdir()}
    (host.folder / "cut").unlink()
    again = host.run()
    assert again["bytes"] == again["expected_bytes"] - sum(left.values())
    host.assert_whole()


def test_a_source_that_is_corrupt_is_not_copied(host: Host) -> None:
    blob = host.source.blob(SHARDS[1])
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    failed = host.run()
    assert (
        failed["msg"]
        == f"{SHARDS[1]} did not arrive as it should be: the source has another content than its name says"
    )
    assert not (host.repo / "blobs" / blob.name).exists()
    assert not (host.repo / "snapshots").exists()


def test_what_is_there_and_right_is_not_copied_and_what_is_corrupt_is(host: Host) -> None:
    host.run()
    bad = host.repo / "blobs" / host.source.blob(SHARDS[0]).name
    bad.write_bytes(bad.read_bytes()[:-1] + b"?")
    (host.repo / "snapshots" / COMMIT / "config.json").unlink()
    again = host.run()
    assert (host.copied(), again["missing"], again["blobs"]) == ([bad.name], ["config.json"], 1)
    host.assert_whole()


def test_what_somebody_has_edited_is_kept(host: Host) -> None:
    host.run()
    snapshot = host.repo / "snapshots" / COMMIT
    (snapshot / "config.json").write_text('{"edited": "through the link"}')
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").write_text("edited")
    again = host.run()
    assert again["complete"] is True, again
    kept = {own["name"]: Path(own["path"]).read_text() for own in again["set_aside"]}
    assert kept == {"config.json": '{"edited": "through the link"}', "tokenizer.json": "edited"}
    host.assert_whole()


def test_folders_that_are_swapped_while_it_copies_lead_nowhere_else(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody with access to the cache puts links to another folder in the place of those that are written to."""
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    run = hf_cache_copy.Task.run

    def swap(task: hf_cache_copy.Task, argv: list[str], folder: str) -> tuple[int, str, str]:
        for name in ("blobs", ".dgxspark"):
            if not (host.repo / name).is_symlink():
                (host.repo / name).rename(host.repo / f"{name}.was")
                (host.repo / name).symlink_to(elsewhere)
        return run(task, argv, folder)

    monkeypatch.setattr(hf_copy, "STREAMS", 1)
    monkeypatch.setattr(hf_cache_copy.Task, "run", swap)
    found = host.run()
    assert found["failed"] is True
    assert list(elsewhere.iterdir()) == []


def test_another_name_of_a_partial_is_not_written_to(host: Host) -> None:
    blob = host.source.blob(SHARDS[0])
    (host.repo / "blobs").mkdir(parents=True)
    victim = host.folder / "victim"
    victim.write_bytes(blob.read_bytes()[:20])
    os.link(victim, host.repo / "blobs" / f"{blob.name}.incomplete")
    assert host.run()["complete"] is True
    assert len(victim.read_bytes()) == 20


def test_what_is_copied_is_closed_to_others_meanwhile(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.path.mkdir()
    host.path.chmod(0o2775)
    run, modes = hf_cache_copy.Task.run, set()

    def look(task: hf_cache_copy.Task, argv: list[str], folder: str) -> tuple[int, str, str]:
        modes.add(os.stat(folder).st_mode & 0o7777)
        return run(task, argv, folder)

    monkeypatch.setattr(hf_cache_copy.Task, "run", look)
    assert host.run()["complete"] is True
    assert modes == {0o2700}  # and its files get the group of the cache
    assert not (host.repo / INCOMING).exists()


@pytest.mark.parametrize("content", [b"something else", b"?" * 100_000, b""])
def test_a_partial_that_is_no_beginning_does_no_harm(host: Host, content: bytes) -> None:
    blob = host.source.blob(SHARDS[0]).name
    (host.repo / "blobs").mkdir(parents=True)
    (host.repo / "blobs" / f"{blob}.incomplete").write_bytes(content)
    (host.repo / "blobs" / f"{blob}.0123abcd.incomplete").write_bytes(b"x")
    run = host.run()
    assert run["changed"] is True
    assert f"{host.repo}/blobs/{blob}.0123abcd.incomplete" in run["removed"]
    host.assert_whole()


def test_a_link_in_the_place_of_a_partial_is_not_followed(host: Host) -> None:
    victim = host.folder / "victim"
    victim.write_text("x")
    blob = host.source.blob(SHARDS[0]).name
    (host.repo / "blobs").mkdir(parents=True)
    (host.repo / "blobs" / f"{blob}.incomplete").symlink_to(victim)
    host.run()
    assert victim.read_text() == "x"
    host.assert_whole()


@pytest.mark.parametrize(
    "name", ["blobs", "refs", "trees", ".dgxspark", "snapshots", f"snapshots/{COMMIT}", "../.locks", "."]
)
def test_a_folder_that_leads_out_of_the_cache_is_refused(host: Host, name: str) -> None:
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    link = Path(os.path.normpath(host.repo / name))
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    assert f"leads out of {host.path}" in host.run()["msg"]
    assert list(elsewhere.iterdir()) == []
    assert host.copied() == []


def test_a_folder_of_the_snapshot_that_leads_out_of_the_cache_is_refused(host: Host) -> None:
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    snapshot = host.repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "sub").symlink_to(elsewhere)
    assert f"{snapshot}/sub: it, or a folder on the way" in host.run()["msg"]
    assert list(elsewhere.iterdir()) == []


def test_it_waits_for_who_downloads_the_same_blob(host: Host) -> None:
    blob = host.source.blob(SHARDS[0])
    lock = host.path / ".locks" / host.repo.name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True)
    (host.repo / "blobs").mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def finish() -> None:
            deadline = time.monotonic() + 120
            while len(host.copied()) < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
            shutil.copy(blob, host.repo / "blobs" / blob.name)
            fcntl.flock(held, fcntl.LOCK_UN)

        host.calls.write_text("")
        client = threading.Thread(target=finish)
        client.start()
        run = host.run()
        client.join()
    assert (run["complete"], run["blobs"]) == (True, 5)
    assert blob.name not in host.copied()
    host.assert_whole()


def test_it_does_not_wait_for_ever(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_copy, "PATIENCE", 0.2)
    lock = host.path / ".locks" / host.repo.name / f"{host.source.blob('config.json').name}.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert host.run()["msg"].startswith(f"somebody holds {lock}")


def test_a_group_can_share_what_is_copied(host: Host) -> None:
    host.path.mkdir()
    host.path.chmod(0o2770)
    host.run()
    modes = {path.relative_to(host.repo): path.lstat().st_mode & 0o777 for path in host.repo.rglob("*")}
    assert {mode for path, mode in modes.items() if (host.repo / path).is_dir()} == {0o770}
    assert {
        m for path, m in modes.items() if not (host.repo / path).is_dir() and not (host.repo / path).is_symlink()
    } == {0o660}


def test_check_mode_says_what_would_come_and_writes_nothing(host: Host) -> None:
    found = host.run(_ansible_check_mode=True)
    assert (found["changed"], found["complete"], found["blobs"]) == (True, False, 6)
    assert found["bytes"] == found["expected_bytes"] > 0
    assert not host.path.exists()
    assert host.copied() == []


def test_no_space_is_said_before_the_first_byte(host: Host) -> None:
    found = host.run(keep_free=1 << 60)
    assert found["cause"]["id"] == "no_space"
    assert found["msg"].startswith("the model does not fit on the disk: 0.0 GB are needed in")
    assert host.copied() == []
    assert not host.path.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "mnt"}, "source: .*mnt is not absolute|source: .*/mnt is not a folder"),
        ({"source": "/mnt/nothing-is-mounted-here"}, "is its disk mounted"),
        ({"source": "{path}"}, "use a folder outside of it"),
        ({"source": "{folder}/bin"}, "is not there in"),
        ({"model": "../x"}, "^model: "),
        ({"revision": "../x"}, "^revision: "),
        ({"path": "/"}, "^path: / is not allowed"),
        ({"source": None}, "one of the following|any of the following"),
    ],
)
def test_bad_input_is_one_line(host: Host, options: dict[str, t.Any], said: str) -> None:
    host.path.mkdir()
    filled = {
        name: value.format(path=host.path, folder=host.folder) if isinstance(value, str) else value
        for name, value in options.items()
    }
    found = host.run(**filled)
    assert found["failed"] is True
    assert re.search(said, found["msg"]), found["msg"]
    if options != {"source": None}:  # Ansible itself refuses it
        asked = {"source"} & options.keys()
        assert found["cause"] == {"id": "source_unusable" if asked else "bad_option", "meaning": found["msg"]}
    assert "\n" not in found["msg"]
    assert list(host.path.iterdir()) == []
