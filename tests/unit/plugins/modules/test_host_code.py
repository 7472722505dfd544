# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and action plugin together, on a folder: users of the code get it, upgrade it and lose it independently."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.action import host_code as action
from ansible_collections.dgxspark.vllm.plugins.modules import host_code as module
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import host_code

PROGRAM = """import sys
from ansible_collections.dgxspark.vllm.plugins.module_utils._a.b import WORD
print(WORD, sys.argv[1:])
"""


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.root = folder / "lib"
        self.collection = folder / "collection"
        monkeypatch.setattr(host_code, "COLLECTION", self.collection)
        package = self.collection / "plugins" / "module_utils" / "_a"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "notes.txt").write_text("no code")
        self.library = package / "b.py"
        self.library.write_text("WORD = 'old'\n")
        self.program = self.collection / "roles" / "r" / "files" / "say.py"
        self.program.parent.mkdir(parents=True)
        self.program.write_text(PROGRAM)
        self.calls: list[dict[str, t.Any]] = []

    def task(self, name: str = "one", **options: t.Any) -> dict[str, t.Any]:
        check, diff = options.pop("check", False), options.pop("diff", False)
        task = MagicMock(async_val=0)
        task.args = {"name": name, "root": str(self.root), **options}
        if options.get("state") != "absent":
            task.args = {"paths": ["plugins/module_utils/_a", "roles/r/files/say.py"], **task.args}
        plugin = action.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        self.calls.clear()

        def execute(module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
            assert module_name == "dgxspark.vllm.host_code"
            self.calls.append(module_args)
            arguments = {**module_args, "_ansible_check_mode": check, "_ansible_diff": diff}
            with patch_module_args(arguments), pytest.raises(SystemExit):
                module.main()
            answer: dict[str, t.Any] = json.loads(self.capsys.readouterr().out)
            return answer

        plugin._execute_module = execute  # type: ignore[method-assign]
        return plugin.run(task_vars={})

    def say(self, name: str = "one", *words: str) -> str:
        command = [sys.executable, "-I", "-S", "-B", self.root / name, "say", *words]
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout.strip()

    def versions(self) -> list[str]:
        return sorted(os.listdir(self.root / ".code"))


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_a_program_runs_with_what_it_imports(host: Host) -> None:
    done = host.task()
    assert (done["changed"], done["folder"], len(host.calls)) == (True, str(host.root / "one"), 2)
    assert "incomplete" not in done
    assert host.say("one", "a", "b") == "old ['a', 'b']"
    here = host.root / "one"
    files = sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())
    assert files == [
        "__main__.py",
        "ansible_collections/dgxspark/vllm/plugins/module_utils/_a/__init__.py",
        "ansible_collections/dgxspark/vllm/plugins/module_utils/_a/b.py",
        "ansible_collections/dgxspark/vllm/roles/r/files/say.py",
    ]
    assert {path.stat().st_mode & 0o777 for path in here.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in here.resolve().rglob("*") if path.is_dir()} == {0o755}


def test_what_is_there_is_not_sent_again(host: Host) -> None:
    host.task()
    again = host.task()
    assert (again["changed"], len(host.calls), "contents" in host.calls[0]) == (False, 1, False)


def test_check_mode(host: Host) -> None:
    would = host.task(check=True, diff=True)
    assert (would["changed"], host.root.exists(), len(host.calls)) == (True, False, 1)
    assert (would["diff"]["before"], would["diff"]["after"].count("\n")) == ("", 4)
    host.task()
    assert host.task(check=True)["changed"] is False
    gone = host.task(state="absent", check=True, diff=True)
    assert gone["changed"] is True
    assert (gone["diff"]["before"], gone["diff"]["after"]) == (f"{host.root}/one\n", "")
    assert host.say() == "old []"


def test_an_upgrade_of_one_user_is_none_of_another(host: Host) -> None:
    host.task("one")
    host.task("two")
    assert len(host.versions()) == 1
    host.library.write_text("WORD = 'new'\n")
    assert host.task("one")["changed"] is True
    assert (host.say("one"), host.say("two"), len(host.versions())) == ("new []", "old []", 2)
    host.task("two")
    assert (host.say("two"), len(host.versions())) == ("new []", 1)


def test_what_one_user_removes_stays_for_another(host: Host) -> None:
    host.task("one")
    host.task("two")
    assert host.task("one", state="absent")["changed"] is True
    assert (host.say("two"), (host.root / "one").exists()) == ("old []", False)
    assert host.task("one", state="absent")["changed"] is False
    host.task("two", state="absent")
    assert not host.root.exists()
    assert host.task("two", state="absent")["changed"] is False


@pytest.mark.parametrize("how", ["changed", "removed", "added", "a link", "no link"])
def test_what_was_damaged_is_made_again(host: Host, how: str) -> None:
    host.task()
    library = host.root / "one" / "ansible_collections/dgxspark/vllm/plugins/module_utils/_a/b.py"
    if how == "changed":
        library.write_text("WORD = 'bad'\n")
    elif how == "removed":
        library.unlink()
    elif how == "added":
        library.with_name("c.py").touch()
    elif how == "a link":
        library.rename(library.with_name("c.py"))
        library.symlink_to("c.py")
    else:
        (host.root / "one").unlink()
    assert host.task()["changed"] is True
    assert host.say() == "old []"
    assert host.task()["changed"] is False
    assert len(host.versions()) == 1


def test_a_run_that_was_broken_off_leaves_the_old_version(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.task()
    host.library.write_text("WORD = 'new'\n")

    class Killed(BaseException):
        pass

    def kill(_descriptor: int) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "fsync", kill)
        host.task()
    assert host.say() == "old []"
    host.task()
    assert (host.say(), len(host.versions())) == ("new []", 1)


def test_an_unknown_program_is_one_line(host: Host) -> None:
    host.task()
    run = subprocess.run([sys.executable, "-IB", host.root / "one"], capture_output=True, check=False, text=True)
    assert (run.returncode, run.stderr) == (1, f"usage: python3 {host.root / 'one'} say ...\n")


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "plugins/nothing", "plugins/../../outside"])
def test_only_files_of_the_collection_are_sent(host: Host, path: str) -> None:
    (host.collection.parent / "outside").mkdir()
    with pytest.raises(AnsibleActionFail, match="is not a file or a folder of this collection"):
        host.task(paths=[path])


@pytest.mark.parametrize("name", ["../x", ".code", "", "a/b"])
def test_a_name_that_is_no_name(host: Host, name: str) -> None:
    assert "is not allowed; use letters, digits and . _ -" in host.task(name)["msg"]
    assert not host.root.exists()


def test_without_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str, *_rest: t.Any, **_more: t.Any) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "makedirs", denied)
    assert host.task()["msg"] == f"{host.root}: Permission denied. It needs root: become: true"
