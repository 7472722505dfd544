# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of vllm_files, on a controller that has all sorts of files."""

from __future__ import annotations

import hashlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import owner_files
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.owner_files import OwnerFileError, read_owner_files

SECRET = "correct-horse-battery"


def item(src: Path | str, target: str = "/opt/files/x") -> dict[str, t.Any]:
    return {"src": str(src), "target": target}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_and_a_content(tmp_path: Path) -> None:
    (tmp_path / "a.jinja").write_bytes(b"{{ x }}")
    found = read_owner_files([item(tmp_path / "a.jinja"), {"content": "é\n", "target": "/opt/files/y/"}])
    assert found == [
        (0, str(tmp_path / "a.jinja"), "/opt/files/x", 7, digest(b"{{ x }}")),
        (1, "", "/opt/files/y", 3, digest("é\n".encode())),
    ]


def test_a_relative_path_begins_where_the_playbook_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for src in ("a", "./a", "~/a"):
        assert read_owner_files([item(src)])[0].path == str(tmp_path / "a")


def test_a_folder_is_the_files_in_it(tmp_path: Path) -> None:
    for name in (
        "lora/config.json",
        "lora/sub/weights.bin",
        "lora/.git/HEAD",
        "lora/__pycache__/x.pyc",
        "lora/.hidden",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "lora" / "link.json").symlink_to("config.json")
    found = read_owner_files([item(tmp_path / "lora", "/adapters/lora")])
    assert [file.target for file in found] == [
        "/adapters/lora/config.json",
        "/adapters/lora/link.json",
        "/adapters/lora/sub/weights.bin",
    ]
    assert found[0].digest == found[1].digest != found[2].digest


def fifo(path: Path) -> None:
    os.mkfifo(path)


def vaulted(path: Path) -> None:
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")


def empty_folder(path: Path) -> None:
    (path / ".git").mkdir(parents=True)


def odd_name(path: Path) -> None:
    path.mkdir()
    (path / "a b").touch()


def link_to_a_folder(path: Path) -> None:
    path.mkdir()
    (path / "sub").symlink_to(path)


def many(path: Path) -> None:
    path.mkdir()
    for number in range(owner_files.MOST_FILES + 1):
        (path / str(number)).touch()


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(owner_files.MOST_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist on the controller; correct the path"),
        (fifo, "is neither a file nor a folder; use one of them"),
        (vaulted, "is encrypted by ansible-vault; use content: \"{{ lookup('ansible.builtin.file', PATH) }}\" instead"),
        (empty_folder, "holds no file; put one into it, or remove the item"),
        (odd_name, "has a name that is not allowed; use letters, digits and . _ @ + -"),
        (link_to_a_folder, "is a link to a folder; use the folder itself"),
        (many, "holds more than 200 files; use fewer, or copy it to the host, and mount it there with vllm_mounts"),
        (large, "with it vllm_files has more than 512 MiB; copy it to the host, and mount it there with vllm_mounts"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_refused_with_one_line(
    tmp_path: Path, make: t.Callable[[Path], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_files, "MOST_BYTES", owner_files.MOST_BYTES if make is not large else 5 << 20)
    make(tmp_path / "x")
    with pytest.raises(OwnerFileError) as refused:
        read_owner_files([{"content": SECRET, "target": "/opt/files/y"}, item(tmp_path / "x")])
    line = str(refused.value)
    assert line.startswith(f'vllm_files[1].src: "{tmp_path}/x')
    assert words.replace("512", "5") in line if make is large else words in line
    assert SECRET not in line


def test_all_items_together_have_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_files, "MOST_BYTES", 1 << 20)
    half = {"content": "x" * (600 << 10)}
    with pytest.raises(OwnerFileError, match=r"^vllm_files\[1\]\.content: with it vllm_files has more than 1 MiB"):
        read_owner_files([{**half, "target": "/a/b"}, {**half, "target": "/a/c"}])
    monkeypatch.setattr(owner_files, "MOST_FILES", 1)
    with pytest.raises(OwnerFileError, match=r"^vllm_files: they are more than 1 files"):
        read_owner_files([{"content": "", "target": "/a/b"}, {"content": "", "target": "/a/c"}])
