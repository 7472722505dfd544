# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether nobody but root can change what a path leads to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import root_only
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.root_only import (
    led_by_others,
    not_root_only,
    visited,
    writable_by,
)


def status(mode: int, uid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 0, uid, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "why"),
    [
        (0o40755, 0, None),
        (0o40700, 0, None),
        (0o42755, 0, None),
        (0o120777, 0, None),  # a link: its mode says nothing
        (0o41777, 0, "can be written by everybody"),
        (0o40757, 0, "can be written by everybody"),
        (0o40775, 0, "can be written by its group"),
        (0o40755, 65533, "belongs to uid 65533"),
        (0o120777, 65533, "belongs to uid 65533"),
    ],
)
def test_who_may_write(mode: int, uid: int, why: str | None) -> None:
    assert writable_by(status(mode, uid)) == why


def test_what_is_visited(tmp_path: Path) -> None:
    """A link that leads on to another one: who owns a folder on the way decides where it leads."""
    base = str(tmp_path)
    for name in ("a", "b/c", "real"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "one").symlink_to("../b/c/two")
    (tmp_path / "b" / "c" / "two").symlink_to(tmp_path / "real")
    found = [path.removeprefix(base) for path in visited(f"{base}/a/one/home") if path.startswith(f"{base}/")]
    assert found == ["/a", "/a/one", "/b", "/b/c", "/b/c/two", *found[5:]]
    assert found[-2:] == ["/real", "/real/home"]
    assert visited("/opt/vllm") == ["/", "/opt", "/opt/vllm"]
    (tmp_path / "loop").symlink_to("loop")
    assert visited(f"{base}/loop/x")


@pytest.mark.parametrize("bad", ["opt", "opt/vllm", "opt/vllm/releases"])
def test_one_folder_of_a_user_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    home = tmp_path / "opt" / "vllm"
    (home / "releases").mkdir(parents=True)
    users = str(tmp_path / bad)

    def lstat(path: str) -> os.stat_result:
        return status(stat.S_IFDIR | 0o755, 65533 if path == users else 0)

    monkeypatch.setattr(root_only, "os", type("Os", (), {**vars(os), "lstat": staticmethod(lstat)}))
    assert not_root_only(str(home), ("releases", "state")) == (
        f"vllm_home: {home} is not safe, because root runs what lies there, and {users} belongs to uid 65533. Nothing"
        f" was changed. Set vllm_home to another folder such as /opt/vllm, or let only root write {users}"
    )


def test_a_folder_below_tmp() -> None:
    assert "/tmp can be written by everybody" in (not_root_only("/tmp/vllm/home") or "")


@pytest.mark.parametrize(
    ("users", "is_led"),
    [
        (None, False),
        ("data", True),
        ("data/hf", False),  # who owns the folder itself cannot rename it
        ("opt", True),
        ("opt/hf", True),  # the link
    ],
)
def test_who_may_lead_a_path_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: str | None, is_led: bool
) -> None:
    (tmp_path / "data" / "hf").mkdir(parents=True)
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "hf").symlink_to(tmp_path / "data" / "hf")

    def lstat(path: str) -> os.stat_result:
        mode = stat.S_IFLNK | 0o777 if os.path.islink(path) else stat.S_IFDIR | 0o755
        return status(mode, 65533 if users and path == str(tmp_path / users) else 0)

    monkeypatch.setattr(root_only, "os", type("Os", (), {**vars(os), "lstat": staticmethod(lstat)}))
    assert led_by_others(str(tmp_path / "opt" / "hf")) is is_led


def test_what_is_not_there_leads_nowhere() -> None:
    assert not led_by_others("/nothing/of/it")
