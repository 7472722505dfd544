# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a playbook writes on the controller: whole or not at all, with their mode, over no other thing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.output_file import check, write


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(str(path), "one\n")
    before = os.umask(0)
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~before  # a web server may have to read it
    with path.open(encoding="utf-8") as reader:
        write(str(path), "two\n")
        assert reader.read() == "one\n"
    assert path.read_text() == "two\n"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.json")
    write(str(tmp_path / "link"), "one\n")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.json").read_text() == "one\n"


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match="no regular file"):
            write(str(tmp_path / name), "one\n")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_nothing_is_left_of_a_file_that_could_not_be_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_paths: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(str(tmp_path / "report.json"), "one\n")
    assert os.listdir(tmp_path) == []


def test_a_mode_is_that_of_the_file_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(str(tmp_path / "page.html"), "one\n", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o644


def test_a_folder_that_is_not_there_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no does not exist"):
        check(str(tmp_path / "no" / "page.html"))
    assert check(str(tmp_path / "page.html")) == str(tmp_path / "page.html")
    assert os.listdir(tmp_path) == []
