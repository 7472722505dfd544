# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import content, layout, snapshot
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import partials as hf_partials

SHA256 = "a" * 64
SHA1 = "b" * 40


def partials(path: Path) -> list[hf_partials.Partial]:
    look = layout.Look()
    (repository,) = layout.find_repositories(str(path), [], look)
    return snapshot.scan_repository(repository, content.Asked(), look).partials


def test_vllm_lock_is_named_as_vllm_names_it() -> None:
    digest = "42b5cf3901ac6d20d16b85ede67f582136ab9d900f2bc2219f2241b8192201c2"
    assert layout.vllm_lock("/opt/hf", "Qwen/Qwen3-8B-FP8") == f"/opt/hf/{digest}Qwen-Qwen3-8B-FP8.lock"


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B-FP8", "nvidia/Llama-3.1-8B-Instruct-FP8", "a/b", "_org/name.v1"])
def test_model_ids(name: str) -> None:
    layout.check_models([name])


@pytest.mark.parametrize(
    "name", ["gpt2", "a/b/c", "../etc", "a/..", "a/.b", "/a/b", "a--b/c", "a/b\n", "", "a b/c", "*/*"]
)
def test_names_that_are_no_model_ids(name: str) -> None:
    with pytest.raises(layout.CacheError, match="use ORGANIZATION/NAME, like"):
        layout.check_models(["Qwen/Qwen3-8B-FP8", name])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (f"{SHA256}.incomplete", True),
        (f"{SHA1}.incomplete", True),
        (f"{SHA256}.0123abcd.incomplete", True),
        (f"{SHA256}", False),
        (f"{SHA256[:-1]}.incomplete", False),
        (f"{SHA256}.0123abc.incomplete", False),
        (f"{SHA256}.0123abcd.incomplete.bak", False),
        (f"x{SHA1}.incomplete", False),
        ("model.safetensors.incomplete", False),
        (f"{SHA256.upper()}.incomplete", False),
        ("tmp_5f0c8a1e", False),
    ],
)
def test_names_of_partials(tmp_path: Path, name: str, found: bool) -> None:
    blobs = tmp_path / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / name).write_bytes(b"x")
    assert [partial.path for partial in partials(tmp_path)] == ([str(blobs / name)] if found else [])


def test_locks_of_a_partial(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{SHA256}.0123abcd.incomplete").touch()
    (partial,) = partials(tmp_path)
    assert partial.locks == [
        layout.vllm_lock(str(tmp_path), "org/name"),
        layout.vllm_lock(str(tmp_path / "hub"), "org/name"),
        str(tmp_path / "hub" / ".locks" / "models--org--name" / f"{SHA256}.lock"),
    ]


@pytest.mark.parametrize("folder", ["", "my-model", "org/my-model"])
def test_partials_in_plain_folders(tmp_path: Path, folder: str) -> None:
    download = tmp_path / folder / ".cache" / "huggingface" / "download" / "sub"
    download.mkdir(parents=True)
    partial = download / f"jUMPnwXjNAWlzUOlDYcfxIHSY-g=.{SHA256}.incomplete"
    for path in (partial, download / f"{SHA256}.incomplete", download / "config.json.lock"):
        path.touch()
    look = layout.Look()
    (place,) = layout.find_local_folders(str(tmp_path), look)
    (found,) = hf_partials.local_partials(place, look)
    assert place == str(tmp_path / folder)
    assert (found.path, found.repo_id) == (str(partial), None)
    assert found.locks == [str(download / "config.json.lock")]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, cache = tmp_path / "outside", tmp_path / "cache"
    blobs = outside / "models--org--name" / "blobs"
    download = outside / ".cache" / "huggingface" / "download"
    for folder in (blobs, download, cache / "models--org--linked-blobs", cache / "folder"):
        folder.mkdir(parents=True)
    (blobs / f"{SHA256}.incomplete").touch()
    (download / f"x.{SHA256}.incomplete").touch()
    (cache / "hub").symlink_to(outside)
    (cache / "models--org--name").symlink_to(outside / "models--org--name")
    (cache / "models--org--linked-blobs" / "blobs").symlink_to(blobs)
    (cache / "linked-folder").symlink_to(outside)
    (cache / "folder" / ".cache").symlink_to(outside / ".cache")
    look = layout.Look()
    assert [repository.repo_id for repository in layout.find_repositories(str(cache), [], look)] == ["org/linked-blobs"]
    assert partials(cache) == []
    assert layout.find_local_folders(str(cache), look) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/", "is not allowed"),
        ("//", "is not allowed"),
        ("/opt/..", "is not allowed"),
        ("/etc", "is not allowed"),
        ("/usr/lib", "is not allowed"),
        ("/proc/self", "is not allowed|symbolic link"),
        ("/sys/kernel", "is not allowed"),
        ("cache", "is not absolute"),
        ("/etc/hostname", "is not a directory"),
        ("/opt/hf\0", "is not a path"),
    ],
)
def test_paths_that_are_refused(path: str, message: str) -> None:
    with pytest.raises(layout.CacheError, match=message):
        layout.check_path(path)


@pytest.mark.parametrize("name", ["models--a--b", "hub", ".locks", "lost+found", "CACHEDIR.TAG"])
def test_folders_that_may_be_a_cache(tmp_path: Path, name: str) -> None:
    layout.check_is_cache(str(tmp_path), layout.Look())  # empty
    (tmp_path / name).mkdir()
    layout.check_is_cache(str(tmp_path), layout.Look())
    layout.check_is_cache(str(tmp_path / "absent"), layout.Look())


def test_a_folder_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "Documents").mkdir()
    with pytest.raises(layout.CacheError, match="is not a Hugging Face cache"):
        layout.check_is_cache(str(tmp_path), layout.Look())


@pytest.mark.parametrize(
    ("path", "line"),
    [("/opt/hf/ä", "/opt/hf/ä"), ("a\nb\x1b[31m", "a\\x0ab\\x1b[31m"), ("a\udcffb", "a\\xffb"), ("\x7f", "\\x7f")],
)
def test_names_on_one_line(path: str, line: str) -> None:
    assert layout.shown(path) == line


def test_what_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(layout.os, "scandir", refuse)
    look = layout.Look()
    assert list(look.entries(str(tmp_path))) == []
    assert list(look.entries(str(tmp_path / "absent"))) == []
    assert look.skipped == {str(tmp_path): "Permission denied; run this task with become: true"}
