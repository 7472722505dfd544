# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of releases: which differ, and that a revoked key stays nowhere."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from release_host import Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_which_secrets_a_release_has_another_value_for(host: Host) -> None:
    """Names only: no value is in the result."""
    now, same, older, oldest = (host.release(number, good=number) for number in (4, 3, 2, 1))
    for release, token, key in ((now, "t1", "k2"), (same, "t1", "k2"), (older, "t1", "k1")):
        env = f"# Written\nHF_TOKEN='{token}'\nVLLM_API_KEY='{key}'\n"
        (host.home / "releases" / release / ".env").write_text(env)
        (host.home / "releases" / release / "compose.yaml").write_text("${HF_TOKEN} ${VLLM_API_KEY}")
    host.link("current", now)
    found = host.run()
    assert {each["id"]: each["other_secrets"] for each in found["releases"]} == {
        now: [],
        same: [],
        older: ["VLLM_API_KEY"],
        oldest: [],  # it has no such file any more, and so brings nothing back
    }
    assert "k1" not in json.dumps(found["releases"])
    (host.home / "current").unlink()
    assert all(each["other_secrets"] == [] for each in host.run()["releases"])


OFFLINE = '# Written\n    environment:\n      VLLM_API_KEY: "${VLLM_API_KEY}"\n      X: "$${HF_TOKEN}"\n'
ONLINE = OFFLINE + '      HF_TOKEN: "${HF_TOKEN}"\n'


class Secrets:
    """The files .env of releases on a host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def release(self, number: int, key: str, compose: str = OFFLINE, **made: t.Any) -> str:
        name = self.host.release(number, **made)
        folder = self.host.home / "releases" / name
        (folder / "compose.yaml").write_text(compose)
        (folder / ".env").write_text(f"# Written\nHF_TOKEN='t{number}'\nVLLM_API_KEY='{key}'\n")
        (folder / ".env").chmod(0o600)
        (folder / "release.json").write_text(json.dumps({"image": "x", "number": number}))
        return name

    def values(self, release: str) -> tuple[str, str]:
        path = self.host.home / "releases" / release / ".env"
        assert path.stat().st_mode & 0o777 == 0o600
        found = dict(line.split("=") for line in path.read_text().splitlines() if "=" in line)
        return found["HF_TOKEN"].strip("'"), found["VLLM_API_KEY"].strip("'")

    def replaced(self) -> list[str]:
        return [each["id"] for each in self.host.run()["releases"] if each["replaced_secrets"]]


def test_a_revoked_key_stays_nowhere(host: Host) -> None:
    """But where nothing else would start the release, and in what was staged for later."""
    secrets = Secrets(host)
    old = secrets.release(1, "k1", good=1)
    online = secrets.release(2, "k1", good=2, compose=ONLINE)
    open_one = secrets.release(3, "k1", good=3, compose="# Written\n")
    failed, wanted, later = secrets.release(4, "k1b"), secrets.release(5, "k2"), secrets.release(6, "k3")
    host.link("current", wanted)
    before = {name: secrets.values(name) for name in (old, online, open_one, failed, wanted, later)}
    would = host.good(wanted, keep=9, replace_secrets=True, _ansible_check_mode=True)
    assert {name: secrets.values(name) for name in before} == before
    does = host.good(wanted, keep=9, replace_secrets=True)
    assert would["changed_secrets"] == does["changed_secrets"]
    assert {name: secrets.values(name) for name in before} == {
        old: ("", "k2"),
        online: ("t5", "k2"),  # its server may download
        open_one: ("", ""),
        failed: ("", "k2"),
        wanted: ("", "k2"),
        later: ("", "k3"),
    }
    assert sorted(secrets.replaced()) == [old, online, failed]
    assert all(each["other_secrets"] == [] for each in host.run()["releases"] if each["id"] in (old, failed))
    again = host.good(wanted, keep=9, replace_secrets=True)
    assert (again["changed"], again["changed_secrets"]) == (False, [])
    assert "k2" not in json.dumps([would, does, host.run()])


def test_a_key_that_there_is_no_more_is_kept_where_it_is_needed(host: Host) -> None:
    secrets = Secrets(host)
    old, new = secrets.release(1, "k1", good=1), secrets.release(2, "", compose="# Written\n")
    host.link("current", new)
    host.good(new, replace_secrets=True)
    assert (secrets.values(old), secrets.replaced()) == (("", "k1"), [])
    assert [each["other_secrets"] for each in host.run()["releases"] if each["id"] == old] == [["VLLM_API_KEY"]]


def test_a_rollback_replaces_nothing(host: Host) -> None:
    """What it goes back to is older than what the inventory says."""
    secrets = Secrets(host)
    old, new = secrets.release(1, "k1", good=1), secrets.release(2, "k2", good=2)
    host.good(old)
    assert (secrets.values(old), secrets.values(new), secrets.replaced()) == (("", "k1"), ("", "k2"), [])


def test_a_release_that_is_staged_again_has_its_own_secrets(host: Host) -> None:
    secrets = Secrets(host)
    old, new = secrets.release(1, "k1", good=1), secrets.release(2, "k2")
    host.good(new, replace_secrets=True)
    assert secrets.replaced() == [old]
    third = secrets.release(3, "k3")
    host.good(third, replace_secrets=True)
    text = (host.home / "releases" / old / ".env").read_text()
    assert text == f"# The values are those of release {third}.\n# Written\nHF_TOKEN=''\nVLLM_API_KEY='k3'\n"
    (host.home / "releases" / old / ".env").write_text("HF_TOKEN=''\nVLLM_API_KEY='k1'\n")  # as the role writes it
    assert secrets.replaced() == [new]


def test_a_file_that_cannot_be_written_is_a_warning(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets(host)
    old, new = secrets.release(1, "k1", good=1), secrets.release(2, "k2")
    replace, warnings = os.replace, []

    def full(source: str, target: str) -> None:
        if target.endswith(f"{old}/.env"):
            raise OSError(28, "No space left on device", target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        patch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
        found = host.good(new, replace_secrets=True)
    assert (found["good"], found["changed_secrets"]) == (new, [new])
    path = host.home / "releases" / old / ".env"
    assert warnings == [f"{path} keeps secrets that are no longer needed: No space left on device"]
