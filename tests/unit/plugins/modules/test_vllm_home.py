# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_home, and what vllm_releases_info says of a folder: on folders of the test, which count as root's alone."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import home as homes
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_home, vllm_releases_info

from support.trees import deep_tree

Result = dict[str, t.Any]
ID = "0123456789ab"
COMPOSE = '# Written by dgxspark.vllm. A release is never edited.\n    labels:\n      dgxspark.vllm.service: "vllm"\n'
# What an owner may have in a folder that is called vllm.
OWNERS = {
    ".env": "OPENWEBUI_SECRET=irreplaceable\n",
    "cache/my-dataset/data": "rows",
    "state/db.sqlite": "rows",
    "releases/v1.0/notes": "notes",
    "docker-compose.yml": "services: {}\n",
}


class Host:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = folder / "opt" / "vllm"
        self.units = folder / "units"
        self.units.mkdir()
        self.capsys = capsys

    def owners(self, **files: str) -> dict[str, str]:
        for name, text in files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return files

    def deployed(self, marked: bool = True) -> None:
        """A folder as it is after a deployment."""
        if marked:
            self.run()
        release = self.home / "releases" / ID
        for folder in ("cache/vllm", "parsed", "state", f"releases/{ID}"):
            (self.home / folder).mkdir(parents=True)
        (release / "compose.yaml").write_text(COMPOSE)
        (release / ".env").write_text("HF_TOKEN='x'\n")
        for name, target in (("current", f"releases/{ID}"), ("good", f"releases/{ID}"), (".env", "current/.env")):
            (self.home / name).symlink_to(target)
        (self.home / "watchdog.env").write_text("WATCHDOG=\n")

    def look(self) -> dict[str, str]:
        """Every file and link below the folder."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(self.home))] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[str(path.relative_to(self.home))] = path.read_text()
        return found

    def run(self, state: str = "present", service: str = "vllm", **options: t.Any) -> Result:
        return self.call(vllm_home, state=state, service=service, **options)

    def says(self, service: str = "vllm", **options: t.Any) -> Result:
        return self.call(vllm_releases_info, service=service, **options)

    def call(self, module: ModuleType, **options: t.Any) -> Result:
        with patch_module_args({"home": str(self.home), **options}), pytest.raises(SystemExit):
            module.main()
        found: Result = json.loads(self.capsys.readouterr().out)
        return found


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    host = Host(tmp_path, capsys)
    monkeypatch.setattr(services, "UNITS", str(host.units))
    monkeypatch.setattr(homes, "not_root_only", lambda *_paths: None)
    return host


def test_a_folder_that_is_not_there_is_made_and_marked(host: Host) -> None:
    old = os.umask(0o002)
    try:
        assert (host.says()["refusal"], host.says()["owned"]) == (None, False)
        assert host.run(_ansible_check_mode=True)["changed"]
        assert not host.home.parent.exists()
        assert host.run()["changed"]
    finally:
        os.umask(old)
    assert [path.stat().st_mode & 0o777 for path in (host.home.parent, host.home)] == [0o755, 0o755]
    marker = json.loads((host.home / ".dgxspark-vllm").read_text())
    assert (marker["service"], "releases" in marker["made"]) == ("vllm", True)
    assert (host.says()["refusal"], host.says()["owned"]) == (None, True)
    assert host.run()["changed"] is False


@pytest.mark.parametrize("name", ["", "lost+found"])
def test_an_empty_folder_is_taken(host: Host, name: str) -> None:
    (host.home / name).mkdir(parents=True)
    assert host.says()["refusal"] is None
    assert host.run()["changed"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("names", [[name] for name in OWNERS] + [list(OWNERS)])
def test_a_folder_of_somebody_else_is_refused_and_left(host: Host, names: list[str], check: bool) -> None:
    before = host.owners(**{name: OWNERS[name] for name in names})
    said = host.says(_ansible_check_mode=check)
    assert f"vllm_home: {host.home} holds " in said["refusal"]
    assert "so it is not its own. Nothing was changed. Set vllm_home to another folder" in said["refusal"]
    assert said["owned"] is False
    assert host.run(_ansible_check_mode=check)["msg"] == said["refusal"]
    removed = host.run("absent", _ansible_check_mode=check)
    assert (removed["changed"], removed["left"]) == (False, sorted({name.split("/")[0] for name in names}))
    assert host.look() == before


def test_a_scheme_of_somebody_else_is_refused(host: Host) -> None:
    host.owners(**{"releases/2026-11-01/app": "x", f"releases/{ID}/compose.yaml": "services: {}\n"})
    (host.home / "current").symlink_to("releases/2026-11-01")
    assert "holds current, releases, and has no marker" in host.says()["refusal"]


def test_a_folder_of_an_earlier_version_goes_on(host: Host) -> None:
    host.deployed(marked=False)
    before = host.look()
    said = host.says()
    assert (said["refusal"], said["owned"], said["current"]) == (None, True, ID)
    assert host.says("vllm-b")["refusal"] == (
        f"vllm_home: {host.home} is the folder of the service vllm; give vllm-b another one"
    )
    assert host.run()["changed"]
    assert {name: text for name, text in host.look().items() if name != ".dgxspark-vllm"} == before


def test_a_folder_without_a_compose_file_is_known_by_its_unit(host: Host) -> None:
    """Of an earlier version: its only release was broken off, or lost the file."""
    host.deployed(marked=False)
    (host.home / "releases" / ID / "compose.yaml").unlink()
    (host.home / "releases" / ID / "good").write_text("1.0 1\n")
    before = host.look()
    said = host.says()
    assert (said["owned"], said["refusal"]) == (
        False,
        f"vllm_home: {host.home} holds .env, cache, current, good and 4 more, and has no marker of this collection"
        " (.dgxspark-vllm), so it is not its own. Nothing was changed. Set vllm_home to another folder, or move what is"
        " in it",
    )
    assert (host.run()["msg"], host.run("absent")["changed"], host.look()) == (said["refusal"], False, before)
    (host.units / "vllm.service").write_text(f"# Written by dgxspark.vllm. X\nWorkingDirectory={host.home}/current\n")
    said = host.says()
    assert (said["refusal"], said["owned"]) == (None, True)
    assert (said["previous"], said["releases"][0]["good"]) == (None, None)  # nothing to go back to
    assert "is the folder of the service vllm" in host.says("vllm-b")["refusal"]
    assert host.run()["changed"]
    assert {name: text for name, text in host.look().items() if name != ".dgxspark-vllm"} == before


@pytest.mark.parametrize("name", [".env", "current", "good"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_stands_in_the_place_of_a_link_is_refused_and_kept(host: Host, name: str, kind: str) -> None:
    host.deployed()
    path = host.home / name
    path.unlink()
    if kind == "file":
        path.write_text("SECRET=x\n")
    elif kind == "folder":
        path.mkdir()
        (path / "x").write_text("x")
    else:
        path.symlink_to("releases/2026-11-01")
    before = host.look()
    refused = host.says()["refusal"]
    assert f"{path} is not the link that this collection makes there" in refused
    assert f"mv {path} {path}.mine" in refused
    assert host.run()["msg"] == refused
    assert host.look() == before
    assert name in host.run("absent", _ansible_check_mode=True)["left"]
    assert host.look() == before
    assert name in host.run("absent")["left"]
    assert host.look() == {mine: text for mine, text in before.items() if mine.split("/")[0] == name}


@pytest.mark.parametrize("marked", [True, False])
def test_only_what_is_ours_is_removed(host: Host, marked: bool) -> None:
    host.deployed(marked)
    mine = host.owners(**{"notes.txt": "mine", "releases/v1.0/notes": "mine", "docker-compose.yml": "x"})
    assert host.run("absent", service="vllm-b")["changed"] is False
    before = host.look()
    for check in (True, False):
        assert host.look() == before
        removed = host.run("absent", _ansible_check_mode=check)
        assert (removed["changed"], removed["left"]) == (True, ["docker-compose.yml", "notes.txt", "releases"])
    assert host.look() == mine
    assert host.run("absent")["changed"] is False
    assert host.look() == mine


@pytest.mark.parametrize("marked", [True, False])
def test_nothing_stays_of_a_folder_that_is_all_ours(host: Host, marked: bool) -> None:
    host.deployed(marked)
    assert host.run("absent", _ansible_check_mode=True)["left"] == []
    assert host.run("absent")["left"] == []
    assert not host.home.exists()
    again = host.run("absent")
    assert (again["changed"], again["left"]) == (False, [])


def test_no_depth_of_the_cache_stops_a_removal(host: Host) -> None:
    """The container writes there: deeper than Python's recursion, than open files, and than the longest path."""
    host.deployed()
    with deep_tree(host.home / "cache" / "deep"):
        removed = host.run("absent")
        assert (removed.get("msg"), removed["left"], host.home.exists()) == (None, [], False)


def test_a_removal_that_was_interrupted_is_finished(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.deployed(marked=False)
    remove = homes._remove

    def interrupted(home: str, name: str, remove_tree: t.Callable[[str], None]) -> None:
        if name == "state":
            raise OSError(5, "Input/output error", name)
        remove(home, name, remove_tree)

    with monkeypatch.context() as patch:
        patch.setattr(homes, "_remove", interrupted)
        assert "Input/output error" in host.run("absent")["msg"]
    assert not (host.home / "releases").exists()
    assert host.run("absent")["left"] == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"service": "ssh", "made": []}', '{"service": "vllm", "made": 5}'),
        *('{"service": 5, "made": []}', '{"service": "vllm", "made": [], "images": 5}'),
    ],
)
def test_a_marker_that_is_none(host: Host, text: str) -> None:
    host.owners(**{".dgxspark-vllm": text})
    assert "has no marker of this collection" in host.says()["refusal"]


def test_a_marker_names_nothing_outside(host: Host) -> None:
    outside = host.owners(**{"../mine": "x"})
    host.owners(**{".dgxspark-vllm": json.dumps({"service": "vllm", "made": ["../mine", "..", ".", "", "/", 5]})})
    assert host.run("absent")["changed"]
    assert (host.home.parent / "mine").read_text() == outside["../mine"]


@pytest.mark.parametrize(("home", "cache"), [("hf/vllm", "hf"), ("vllm", "vllm/hf"), ("hf", "hf"), ("link/vllm", "hf")])
def test_folder_and_cache_may_not_lie_in_one_another(host: Host, tmp_path: Path, home: str, cache: str) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "link").symlink_to("hf")
    refused = host.says(home=str(tmp_path / home), cache_path=str(tmp_path / cache))["refusal"]
    assert "lie in one another; use two folders that do not" in refused
    assert host.says(home=str(tmp_path / "hf-2"), cache_path=str(tmp_path / "hf"))["refusal"] is None


@pytest.mark.parametrize("name", ["vllm.service", "vllm-watchdog.service", "vllm-watchdog.timer"])
def test_a_unit_of_somebody_else_is_refused(host: Host, name: str) -> None:
    ours = host.units / "vllm.service"
    ours.write_text("# Written by dgxspark.vllm. X\n")
    assert (host.says()["refusal"], host.says()["units"]) == (None, [str(ours)])
    (host.units / name).unlink(missing_ok=True)
    (host.units / name).symlink_to("/dev/null")  # masked
    refused = host.says()["refusal"]
    assert refused.startswith(f"vllm_service_name: {host.units / name} exists, and this collection did not write it.")
    assert str(host.units / name) not in host.says()["units"]


@pytest.mark.parametrize("check", [True, False])
def test_the_folder_of_an_installed_service_cannot_be_changed(host: Host, tmp_path: Path, check: bool) -> None:
    """Guard, releases, secrets and the watchdog would be looked for in the new one, and the old one forgotten."""
    host.deployed()
    unit = f"# Written by dgxspark.vllm. X\n[Service]\nWorkingDirectory={host.home}/current\n"
    (host.units / "vllm.service").write_text(unit)
    new, link, before = tmp_path / "srv" / "vllm", tmp_path / "link", host.look()
    said = host.says(home=str(new), _ansible_check_mode=check)
    assert (
        said["refusal"]
        == said["moved"]
        == (
            f"vllm_home: {new} is not the folder of the service vllm, which is {host.home}. Nothing was changed. Set"
            f" vllm_home to {host.home}. To move the service, run playbooks/uninstall.yml with that path (models and"
            f" images stay), then deploy with {new}"
        )
    )
    assert host.run(home=str(new), _ansible_check_mode=check)["msg"] == said["refusal"]
    assert (new.exists(), host.look()) == (False, before)
    link.symlink_to(host.home)
    for same in (host.home, f"{host.home}/", link):
        assert (host.says(home=str(same))["refusal"], host.says(home=str(same))["moved"]) == (None, None)
    assert host.says("vllm-b", home=str(new))["refusal"] is None
    host.run("absent")  # by hand, and the unit stays
    assert host.says(home=str(new))["refusal"] is None


def test_a_file_is_no_folder(host: Host) -> None:
    host.home.parent.mkdir()
    host.home.write_text("x")
    assert "is no folder; remove it, or set vllm_home to another path" in host.says()["refusal"]
    assert host.run("absent")["changed"] is False


def test_the_folders_of_a_release_are_made_with_it(host: Host) -> None:
    assert host.run(release=ID, _ansible_check_mode=True)["changed"]
    assert not host.home.exists()
    old = os.umask(0o002)
    try:
        assert [host.run(release=ID)["changed"] for _time in range(2)] == [True, False]
        (host.home / "cache").chmod(0o777)
        assert [host.run(release=ID)["changed"] for _time in range(2)] == [True, False]
    finally:
        os.umask(old)
    made = {str(path.relative_to(host.home)): path.stat().st_mode & 0o777 for path in host.home.rglob("*")}
    assert made.pop(".dgxspark-vllm") == 0o644
    assert made == dict.fromkeys(("cache", "parsed", "releases", f"releases/{ID}"), 0o755)


@pytest.mark.parametrize("name", ["../../x", "", "0123456789AB", "0123456789ab/x"])
def test_a_release_has_the_name_of_one(host: Host, name: str) -> None:
    assert "is not the name of a release" in host.run(release=name)["msg"]
    assert not host.home.exists()
