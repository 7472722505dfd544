# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_release and vllm_releases_info on folders of the test, with a program that stands in for Docker."""

from __future__ import annotations

import json
import os
import shutil
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_release
from release_host import NOW, Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_read(host: Host) -> None:
    first, second, third = host.release(1, good=1), host.release(2, good=2), host.release(3)
    host.link("current", second)
    host.link("good", second)
    found = host.run()
    assert (found["changed"], found["current"], found["good"], found["previous"]) == (False, second, second, first)
    assert [release["id"] for release in found["releases"]] == [second, first, third]
    assert found["releases"][0]["facts"] == {"image": "image:2"}
    assert found["taken_over"] == {}


def test_read_while_another_one_was_brought_in(host: Host) -> None:
    """After a switch that is not proven yet, the way back is the release that was proven last."""
    first, second = host.release(1, good=1), host.release(2)
    host.link("current", second)
    host.link("good", first)
    assert (host.run()["previous"], host.run()["good"]) == (first, first)


def test_a_fresh_host(host: Host) -> None:
    found = host.run(_ansible_check_mode=True)
    assert (found["current"], found["good"], found["previous"], found["releases"]) == (None, None, None, [])
    assert not host.home.exists()


def test_kept(host: Host) -> None:
    first = host.release(1)
    note = {"id": "x", "kind": "container", "name": "n", "renamed": None, "running": True, "service": None}
    holders = [{**note, "enabled": False, "restart": "no"}]
    (host.home / "taken_over.json").write_text(json.dumps({"holders": holders, "beside": "0123456789ab"}))
    assert host.run()["taken_over"] == {"holders": holders, "beside": "0123456789ab"}
    found = host.good(first)
    assert (found["changed"], found["good"]) == (True, first)
    assert os.readlink(host.home / "good") == f"releases/{first}"
    after = host.run()
    assert (after["releases"][0]["good"], after["taken_over"]) == (NOW, {})
    assert sorted(os.listdir(host.home)) == [".dgxspark-vllm", "good", "releases", "replaced.json"]
    assert json.loads((host.home / "replaced.json").read_text()) == {"holders": holders}
    assert host.good(first)["changed"] is False


def test_the_last_good_ones_stay(host: Host) -> None:
    names = [host.release(number, good=number) for number in range(1, 5)]
    failed, staged, new = host.release(6), host.release(12), host.release(10)
    os.utime(host.home / "releases" / failed, (NOW - 86400,) * 2)  # older than all that stay
    host.link("current", new)
    found = host.good(new, _ansible_diff=True)
    assert sorted(found["removed"]) == sorted([names[0], names[1], failed])
    assert host.names() == sorted([names[2], names[3], new, staged])
    assert sorted(found["removed_images"]) == ["image:1", "image:2", "image:6"]
    assert found["diff"]["before"].splitlines() == [*found["removed"], *found["removed_images"]]
    assert host.asked() == ["image rm -- image:1", "image rm -- image:2", "image rm -- image:6"]
    again = host.good(new)
    assert (again["changed"], again["removed"], host.asked()) == (False, [], [])


def test_check_mode_says_exactly_that(host: Host) -> None:
    names = [host.release(number, good=number) for number in range(1, 5)]
    host.link("current", names[3])
    host.link("good", names[3])
    new = host.release(10)
    would = host.good(new, _ansible_check_mode=True, _ansible_diff=True)
    assert (would["changed"], would["removed"]) == (True, [names[1], names[0]])
    assert (len(host.names()), host.asked(), would["good"]) == (5, [], names[3])
    does = host.good(new, _ansible_diff=True)
    assert [does[key] for key in ("removed", "removed_images", "diff")] == [
        would[key] for key in ("removed", "removed_images", "diff")
    ]


def test_what_runs_stays_whatever_the_clock_was(host: Host) -> None:
    """It was marked good long before the others, by the clock of a host that had no time yet."""
    current = host.release(1, good=0)
    others = [host.release(number, good=number) for number in range(20, 23)]
    new = host.release(23)
    host.link("current", current)
    assert host.good(new, keep=1)["removed"] == list(reversed(others))
    assert host.names() == sorted([current, new])


@pytest.mark.parametrize("how", ["unit", "only staged"])
def test_an_image_that_another_service_names_stays(host: Host, how: str) -> None:
    host.release(1, good=1, image="shared:1")
    host.release(2, good=2, image="used:1")
    host.release(3, good=3, image="idle:1")
    if how == "unit":
        other = host.folder / "srv" / "b"
        (host.folder / "units").mkdir()
        (host.folder / "units" / "vllm-b.service").write_text(f"[Service]\nWorkingDirectory={other}/current\n")
    else:
        other = host.home.parent / "vllm-b"
    host.release(9, image="shared:1", home=other)
    found = host.good(host.release(5), keep=1)
    assert (len(found["removed"]), found["removed_images"]) == (3, ["idle:1"])
    assert host.asked() == ["image rm -- idle:1", "image rm -- used:1"]


@pytest.mark.parametrize("check", [True, False])
def test_an_image_of_the_owner_stays(host: Host, check: bool) -> None:
    """Built on the host, so that no registry has it, or pulled by hand before a deployment needed it."""
    host.release(1, good=1, image="local:dev")
    host.release(2, good=2, image="by-hand:1", is_pulled=False)
    host.release(3, good=3, image="ours:1")
    found = host.good(host.release(5), keep=1, _ansible_check_mode=check)
    assert (len(found["removed"]), found["removed_images"]) == (3, ["ours:1"])
    assert host.asked() == ([] if check else ["image rm -- ours:1"])


def test_an_image_that_comes_back_is_its_owners(host: Host) -> None:
    """Removed, and pulled again by hand. Another service that has pulled it first counts, and forgets it too."""
    other = host.home.parent / "vllm-b"
    host.release(1, good=1, image="x:1", is_pulled=False)
    other.mkdir()
    host.pulled(other, "x:1")
    assert host.good(host.release(5), keep=1)["removed_images"] == ["x:1"]
    host.release(2, good=2, image="x:1", is_pulled=False)
    assert host.good(host.release(6), keep=1)["removed_images"] == ["image:5"]


def test_images_stay_on_request_and_without_docker(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.release(1, good=1)
    assert host.good(host.release(5), keep=1, remove_images=False)["removed_images"] == []
    monkeypatch.setenv("PATH", str(host.folder / "nothing"))
    (host.folder / "bin" / "docker").unlink()
    found = host.good(host.release(6), keep=1)
    assert (len(found["removed"]), found["removed_images"], host.asked()) == (1, [], [])


def test_the_home_may_be_written_in_other_ways(host: Host) -> None:
    host.release(1, good=1)
    new = host.release(5)
    (host.folder / "link").symlink_to(host.home)
    found = host.good(new, home=f"{host.folder}/link/", keep=1, _ansible_check_mode=True)
    assert found["removed_images"] == ["image:1"]  # of a release of ours, not of another service


@pytest.mark.parametrize("release", ["../../etc", "0" * 12, "", ".", "A" * 12, f"{1:012x}\n", f"{1:012x}/../{1:012x}"])
def test_only_a_release_can_be_good(host: Host, release: str) -> None:
    host.release(1)
    (host.folder / "etc").mkdir()
    found = host.good(release)
    assert found["msg"] == f"release: {release!r} is not a release in {host.home}/releases"
    assert sorted(os.listdir(host.home)) == [".dgxspark-vllm", "releases"]
    assert os.listdir(host.folder / "etc") == []


def test_a_link_is_no_release(host: Host) -> None:
    host.release(1)
    (host.folder / "etc").mkdir()
    (host.home / "releases" / ("d" * 12)).symlink_to(host.folder / "etc")
    assert "is not a release" in host.good("d" * 12)["msg"]
    assert os.listdir(host.folder / "etc") == []


def test_bad_options(host: Host) -> None:
    assert host.call(vllm_release, keep=0)["msg"] == "keep: 0 is not allowed; use 1 or more"


def test_without_a_release_the_outdated_ones_go_and_none_is_marked(host: Host) -> None:
    """The one in service stays, and so does the one that the link `good` names, whatever their age."""
    names = [host.release(number, good=number) for number in range(1, 5)]
    host.link("current", names[0])
    host.link("good", names[1])
    would = host.call(vllm_release, keep=1, _ansible_check_mode=True)
    assert (would["changed"], would["removed"], len(host.names())) == (True, [names[2]], 4)
    found = host.call(vllm_release, keep=1)
    assert (found["changed"], found["good"], found["removed"]) == (True, names[1], [names[2]])
    assert host.names() == sorted([names[0], names[1], names[3]])
    assert host.call(vllm_release, keep=1)["changed"] is False


def test_a_release_that_somebody_else_removes_meanwhile(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = host.release(1, good=1), host.release(5)
    remove = shutil.rmtree

    def rmtree(path: str, *how: t.Any, **more: t.Any) -> None:
        remove(path, ignore_errors=True)
        remove(path, *how, **more)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    assert host.good(new, keep=1)["removed"] == [old]
    assert host.names() == [new]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("call", ["os.fsync", "os.unlink", "os.symlink", "os.replace", "shutil.rmtree"])
@pytest.mark.parametrize("before", [True, False])
def test_interrupted_anywhere_and_done_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, call: str, before: bool
) -> None:
    """A run that ends at that call, before or after it. Whatever it left, the next one finishes."""
    old, new = host.release(1, good=1), host.release(5)
    host.link("current", new)
    host.link("good", old)
    (host.home / "taken_over.json").write_text(json.dumps({"holders": []}))
    module, name = {"os": os, "shutil": shutil}[call.split(".")[0]], call.split(".")[1]
    real = getattr(module, name)

    def kill(*how: t.Any, **more: t.Any) -> None:
        if not before:
            real(*how, **more)
        raise Killed

    options = {"home": str(host.home), "release": new, "keep": 1}
    with monkeypatch.context() as patch, patch_module_args(options), pytest.raises(Killed):
        patch.setattr(module, name, kill)
        vllm_release.main()
    # The role proves the release once more where `good` does not name it: that has to come last, then.
    marked = os.readlink(host.home / "good") == f"releases/{new}"
    assert not marked or not (host.home / "taken_over.json").exists()
    found = host.run()
    assert (found["current"], found["good"]) == (new, new if marked else old)
    assert host.good(new, keep=1)["good"] == new
    assert [release["id"] for release in host.run()["releases"] if release["good"]] == [new]
    monkeypatch.setattr(time, "time", lambda: NOW + 1e9)  # half a release looks staged, and goes with the next ones
    host.good(new, keep=1)
    assert host.names() == [new]
    assert sorted(os.listdir(host.home)) == [".dgxspark-vllm", "current", "good", "releases"]


def test_a_release_that_cannot_be_removed_stays_and_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one is proven: no reason to fail."""
    first, second, new = host.release(1, good=1), host.release(2, good=2), host.release(5)
    host.link("current", new)
    remove, warnings = shutil.rmtree, []

    def rmtree(path: str, *how: t.Any, **more: t.Any) -> None:
        if path.endswith(first):
            raise OSError(5, "Input/output error", f"{path}/compose.yaml")
        remove(path, *how, **more)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    found = host.good(new, keep=1)
    folder = host.home / "releases" / first
    assert warnings == [f"{folder} stays, because {folder}/compose.yaml cannot be removed: Input/output error"]
    assert (found["good"], found["removed"], found["removed_images"]) == (new, [second], ["image:2"])
    assert host.names() == [first, new]
    assert host.run()["previous"] is None  # nobody goes back to what may be half a release


def test_a_disk_that_is_full(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = host.release(1, good=1), host.release(5)
    host.link("good", old)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        found = host.good(new, keep=1)
    assert found["msg"] == f"{host.home}: No space left on device"
    assert (host.run()["good"], host.names()) == (old, [old, new])


def test_without_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    host.release(1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "listdir", denied)
    assert host.run()["msg"] == f"{host.home}/releases: Permission denied. It needs root: become: true"


def test_fifty_deployments_leave_three(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for number in range(50):
        monkeypatch.setattr(time, "time", lambda number=number: NOW + number * 60)
        names.append(host.release(1000 + number))
        os.utime(host.home / "releases" / names[-1], (NOW + number * 60 - 30,) * 2)
        host.link("current", names[-1])
        host.good(names[-1])
    assert host.names() == sorted(names[-3:])
    assert host.run()["previous"] == names[-2]
