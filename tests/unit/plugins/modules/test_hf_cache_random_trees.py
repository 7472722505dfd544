# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever lies in the folder: no crash, a second run finds nothing more, and nothing outside of it is touched."""

from __future__ import annotations

import json
import os
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import clean, layout, locks
from ansible_collections.dgxspark.vllm.plugins.modules import hf_cache_clean, hf_cache_info
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHA256, SHA1, COMMIT = "a" * 64, "b" * 40, "c" * 40
EMPTY_SHA1 = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"

NAMES = st.sampled_from(
    [
        "models--org--name",
        "models--org--other\nname",
        "datasets--x",
        "hub",
        "blobs",
        "snapshots",
        "refs",
        "trees",
        "main",
        ".locks",
        ".cache",
        "huggingface",
        "download",
        "aa",
        COMMIT,
        f"{COMMIT}.json",
        SHA256,
        SHA1,
        EMPTY_SHA1,
        f"{SHA256}.lock",
        f"{SHA256}.refs",
        f"{SHA256}.incomplete",
        f"{SHA1}.0123abcd.incomplete",
        f"x.{SHA256}.incomplete",
        "tmp_0f8fad5b-d9cb-469f-a165-70867728950e",
        ".huggingface-shared-blobs",
        "config.json",
        "config.json.metadata",
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "line\nbreak",
        "caf\udce9",
    ]
)
TARGETS = st.sampled_from(
    [
        "../../blobs/" + SHA256,
        "../../blobs/aa/" + SHA256,
        "../../../blobs/" + SHA1,
        "..",
        ".",
        "main",
        "config.json",
        "nowhere",
        "OUTSIDE",
        "OUTSIDE/precious",
        "OUTSIDE/models--org--name",
        "/",
        "/proc/self/fd",
    ]
)
CONTENTS = st.sampled_from(
    [
        b"",
        b"x",
        COMMIT.encode(),
        b"{}",
        b"[1]",
        b'{"weight_map": {"a": "../../../../OUTSIDE"}}',
        b'{"weight_map": 3}',
        b'{"files": {"config.json": {"size": 9}, "x": 1}}',
        b"\x10\0\0\0\0\0\0\0{}              ",
        b"\xff" * 200,
        f"{COMMIT}\n{SHA256}\n1.0\n".encode(),
        f"models--org--name/blobs/{SHA256}\n../../x\n/etc/passwd\n".encode(),
        b"1\n",
        b"[" * 100_000,
    ]
)
NODES = st.one_of(
    st.tuples(st.just("file"), CONTENTS),
    st.tuples(st.just("link"), TARGETS),
    st.tuples(st.just("pipe"), st.none()),
    st.tuples(st.just("folder"), st.none()),
)
# Folders in the usual places, so that what is put into them is looked at.
PLACES = st.one_of(
    st.sampled_from(
        [
            "models--org--name",
            "models--org--name/blobs",
            "models--org--name/refs",
            f"models--org--name/snapshots/{COMMIT}",
            f"models--org--name/snapshots/{COMMIT}/sub",
            "models--org--name/trees",
            "hub/models--org--name/blobs",
            "blobs/aa",
            ".locks/models--org--name",
            "plain/.cache/huggingface/download",
            "plain",
        ]
    ),
    st.lists(NAMES, max_size=3).map("/".join),
)
TREES = st.lists(st.tuples(PLACES, NAMES, NODES), max_size=14)


def build(root: Path, outside: Path, nodes: list[tuple[str, str, tuple[str, t.Any]]]) -> None:
    for place, name, (kind, what) in nodes:
        folder = root
        for part in place.split("/") if place else []:
            folder = folder / part
            if folder.is_symlink() or folder.is_file() or folder.is_fifo():
                break
            folder.mkdir(exist_ok=True)
        # What is no real folder by now would put the file somewhere else, or is in the way.
        way = [each for each in (folder, *folder.parents) if root in each.parents]
        real = all(each.is_dir() and not each.is_symlink() for each in way)
        path = folder / name
        if not real or os.path.lexists(path):
            continue
        if kind == "file":
            path.write_bytes(what)
        elif kind == "link":
            path.symlink_to(what.replace("OUTSIDE", str(outside)))
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()


def snapshot(folder: Path) -> dict[str, t.Any]:
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_nlink)
    return found


@pytest.fixture(autouse=True)
def _visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may not see the processes of others. Nobody else has these files."""
    monkeypatch.setattr(locks, "open_files", lambda *_asked: ({}, True))
    monkeypatch.setattr(locks, "user_of", lambda _names: None)  # some of their names, though


def ask(path: str, check_mode: bool, keep: list[str] | None) -> dict[str, t.Any] | None:
    asked = {"path": path, "models": [], "classes": clean.CLASSES, "keep_models": keep, "assume_idle": False}
    try:
        return hf_cache_clean.clean(asked, check_mode)
    except layout.CacheError as error:
        assert "is not a Hugging Face cache" in str(error)
        return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(nodes=TREES, keep=st.sampled_from([None, ["org/other"]]))
def test_random_trees(nodes: list[tuple[str, str, tuple[str, t.Any]]], keep: list[str] | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, outside = Path(folder, "cache"), Path(folder, "outside")
        (outside / "models--org--name" / "blobs").mkdir(parents=True)
        (outside / "precious").write_bytes(b"")
        (outside / "models--org--name" / "blobs" / SHA256).write_bytes(b"x")
        (outside / "models--org--name" / "blobs" / f"{SHA1}.incomplete").write_bytes(b"x")
        root.mkdir()
        build(root, outside, nodes)
        inside, foreign = snapshot(root), snapshot(outside)

        for verify in ("none", "full"):
            json.dumps(hf_cache_info.read_cache(str(root), [], verify, os.getuid() + 1)).encode("ascii")
        check = ask(str(root), True, keep)
        assert snapshot(root) == inside

        real = ask(str(root), False, keep)
        assert snapshot(outside) == foreign
        if real is None or check is None:
            assert real is check
            return
        assert {file["path"] for file in check["removed"]} <= {file["path"] for file in real["removed"]}
        json.dumps(real).encode("ascii")
        left = set(snapshot(root))
        lost = {os.path.relpath(path, folder) for path in inside if path not in left}
        pruned = [os.path.relpath(file["path"], folder) for file in real["removed"] if file["class"] == "pruned"]
        told = {os.path.relpath(file["path"], folder) for file in real["removed"]}
        for path in lost:
            shown = layout.shown(path)
            below = any(f"{shown}/".startswith(f"{each}/") for each in pruned)
            assert below or shown in told or path.endswith(".refs"), path


@pytest.mark.parametrize("what", ["a file", "an unreadable folder", "a pipe"])
def test_something_else_in_the_place_of_a_folder(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("hub", ".locks", "models--org--name/blobs", "models--org--name/snapshots", "models--org--name/refs"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "a file":
            path.touch()
        elif what == "a pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
    if what == "an unreadable folder":
        scandir = os.scandir

        def refuse(path: str) -> t.Any:
            if os.fspath(path) != str(tmp_path) and not str(path).endswith("models--org--name"):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(layout.os, "scandir", refuse)
    result = hf_cache_info.read_cache(str(tmp_path), [], "full", None)
    assert [repository["complete"] for repository in result["repositories"]] == [False]
    skipped = {os.path.relpath(entry["path"], tmp_path) for entry in result["unread"]}
    assert ("hub" in skipped and "models--org--name/blobs" in skipped) == (what == "an unreadable folder")
    cleaned = ask(str(tmp_path), False, None)
    assert cleaned is not None and cleaned["removed"] == []


@pytest.mark.parametrize("what", ["a pipe", "a device"])
def test_what_has_no_end_is_not_read(tmp_path: Path, what: str) -> None:
    top = tmp_path / "models--org--name"
    places = [
        top / "refs" / "main",
        top / "trees" / f"{COMMIT}.json",
        top / "snapshots" / COMMIT / "config.json",
        top / "snapshots" / COMMIT / "model.safetensors.index.json",
        top / "snapshots" / COMMIT / "model.safetensors",
        top / "blobs" / SHA256,
        tmp_path / ".locks" / top.name / f"{SHA256}.lock",
        tmp_path / "blobs" / "aa" / f"{SHA256}.refs",
        tmp_path / "plain" / ".cache" / "huggingface" / "download" / "config.json.metadata",
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        if what == "a pipe":
            os.mkfifo(place)
        else:
            place.symlink_to("/dev/zero")
    (tmp_path / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    (tmp_path / "blobs" / "aa" / SHA256).touch()
    result = hf_cache_info.read_cache(str(tmp_path), [], "full", None)
    assert result["repositories"][0]["complete"] is not True
    assert ask(str(tmp_path), False, None) is not None
    assert all(os.path.lexists(place) for place in places)
