# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy/place_files.yml as it is, on this machine: where the files of vllm_files lie, and who may read them."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook, Run

TASKS = ROOT / "roles/vllm/tasks/deploy/place_files.yml"
SECRET = "correct-horse-battery"
CONTENT = '{"a": 1}\n' + SECRET


def test_files_are_placed_as_they_are(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    template = "{{ messages }} {% if x %}" + SECRET
    (tmp_path / "mine.jinja").write_text(template)
    release = tmp_path / "releases" / "r"
    tasks = yaml.safe_load(TASKS.read_text())
    for task in tasks:
        for module in ("file", "copy"):
            for option in ("owner", "group"):
                task.get(f"ansible.builtin.{module}", {}).pop(option, None)
    resolved = {
        "home": str(tmp_path),
        "files": [
            {"name": "files/a", "path": str(tmp_path / "mine.jinja"), "number": 0},
            {"name": "files/b", "path": "", "number": 1},
        ],
    }
    files = [{"src": "mine.jinja", "target": "/opt/files/a"}, {"content": CONTENT, "target": "/opt/files/b"}]
    variables = {"__vllm_release": "r", "__vllm_resolved": resolved, "vllm_secure_logging": True}
    book = tmp_path / "play.yml"
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks, "vars": {**variables, "vllm_files": files}}
    book.write_text(yaml.safe_dump([play]))
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"one": THIS_MACHINE}}}))

    def run(*flags: str) -> Run:
        found = ansible_playbook(book, "--diff", "-v", *flags, inventory=tmp_path / "hosts.yml")
        assert found.code == 0, found.output
        assert SECRET not in found.output
        return found

    run("--check")
    assert not release.exists()
    assert run().count("one", "changed") == 3
    assert run().count("one", "changed") == 0
    assert (release / "files/a").read_text() == template
    assert (release / "files/b").read_text() == CONTENT
    assert mode(release / "files") == 0o700
    assert {mode(release / "files" / name) for name in "ab"} == {0o644}


def mode(path: Path) -> t.Any:
    return stat.S_IMODE(path.stat().st_mode)
