# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import json
import time
import typing as t
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import apt_source

from support.paths import ROOT

KEY = (ROOT / "tests" / "fixtures" / "openpgp" / "ed25519.asc").read_text()
FINGERPRINT = "D562 33E0 8592 FC7A 56EE 40EF 0D35 3EE3 B5F2 0251"
DOCKER = {
    "name": "docker",
    "uri": "https://download.example/linux/ubuntu",
    "suite": "noble",
    "components": ["stable"],
    "key_url": "https://download.example/linux/ubuntu/gpg",
    "fingerprint": FINGERPRINT,
}
OFFICE = "Types: deb\nURIs: https://mirror.office.example/docker\nSuites: noble\nComponents: stable\n"


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.apt = folder / "apt"
        (self.apt / "sources.list.d").mkdir(parents=True)
        (self.apt / "keyrings").mkdir()
        self.source = self.apt / "sources.list.d" / "dgxspark-docker.sources"
        self.key = self.apt / "keyrings" / "dgxspark-docker.asc"
        self.answer = KEY
        monkeypatch.setattr(apt_source, "APT", str(self.apt))

        def fetch(url: str, **_options: t.Any) -> t.Any:
            if not self.answer:
                raise HTTPError(url, 404, "Not Found", Message(), None)
            return io.BytesIO(self.answer.encode())

        monkeypatch.setattr(apt_source, "open_url", fetch)

    def run(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        with patch_module_args({**DOCKER, **options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            apt_source.main()
        return json.loads(self.capsys.readouterr().out)

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.apt.rglob("*") if path.is_file()}


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_source_and_key_have_names_of_their_own(host: Host) -> None:
    assert host.run(check=True)["changed"] is True
    assert host.files() == {}
    assert host.run()["changed"] is True
    assert host.source.read_text() == (
        "# Written by dgxspark.vllm\nTypes: deb\nURIs: https://download.example/linux/ubuntu\nSuites: noble\n"
        f"Components: stable\nSigned-By: {host.key}\n"
    )
    assert host.key.read_text() == "".join(line for line in KEY.splitlines(keepends=True) if line[:1] != "=")
    assert {path.stat().st_mode & 0o777 for path in (host.source, host.key)} == {0o644}
    assert host.run()["changed"] is False
    assert host.run(state="absent")["changed"] is True
    assert host.files() == {}
    assert host.run(state="absent")["changed"] is False


def test_a_flat_repository_has_no_components(host: Host) -> None:
    host.run(suite="/", components=[])
    assert "Components" not in host.source.read_text()


@pytest.mark.parametrize("state", ["present", "absent"])
def test_what_the_owner_wrote_stays(host: Host, state: str) -> None:
    """The names of Docker's own instructions, for another repository."""
    host.apt.joinpath("sources.list.d", "docker.sources").write_text(OFFICE)
    host.apt.joinpath("keyrings", "docker.asc").write_text("the key of the office")
    before = host.files()
    host.run()
    host.run(state=state)
    assert before.items() <= host.files().items()


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_file_of_our_name_that_we_did_not_write_stays(host: Host, state: str) -> None:
    host.source.write_text(OFFICE)
    result = host.run(state=state)
    assert ("was not written by this collection" in result.get("msg", "")) is (state == "present")
    assert host.files() == {host.source.name: OFFICE}


@pytest.mark.parametrize("line", ["deb https://download.example/linux/ubuntu noble stable", OFFICE])
def test_the_owners_source_of_the_same_address_is_used(host: Host, line: str) -> None:
    path = host.apt / "sources.list.d" / "mine.list"
    path.write_text(f"# {DOCKER['uri']}\n{line}\n")
    result = host.run()
    assert result["owner_source"] == (str(path) if "download" in line else None)
    assert result["changed"] is ("download" not in line)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("answer", "fingerprint", "message"),
    [
        (
            KEY,
            "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
            "has the fingerprint D56233E08592FC7A56EE40EF0D353EE3B5F20251",
        ),
        (KEY + (ROOT / "tests/fixtures/openpgp/rsa2048.asc").read_text(), FINGERPRINT, "it was not written"),
        ("<html>sign in</html>", "", "is not a key: there is no OpenPGP key in ASCII"),
        ("", FINGERPRINT, "cannot be downloaded: HTTP Error 404: Not Found"),
    ],
)
def test_a_key_that_is_not_the_expected_one_is_not_written(
    host: Host, answer: str, fingerprint: str, message: str, check: bool
) -> None:
    host.answer = answer
    assert message in host.run(fingerprint=fingerprint, check=check)["msg"]
    assert host.files() == {}


def test_without_a_fingerprint_any_key_is_accepted(host: Host) -> None:
    assert host.run(fingerprint="")["changed"] is True


class Dripping:
    def read(self, size: int) -> bytes:
        time.sleep(5)
        return b"x" * size


class Broken:
    def read(self, _size: int) -> bytes:
        raise OSError("\x1b[2Jit broke off")


@pytest.mark.parametrize(
    ("answer", "words"), [(Dripping(), "it did not come whole within 0.2 s"), (Broken(), "it broke off")]
)
def test_a_key_that_drips_or_breaks_off(host: Host, monkeypatch: pytest.MonkeyPatch, answer: t.Any, words: str) -> None:
    monkeypatch.setattr(apt_source, "SECONDS", 0.2)
    monkeypatch.setattr(apt_source, "open_url", lambda *_args, **_more: answer)
    begin = time.monotonic()
    found = host.run()
    assert time.monotonic() - begin < 4
    assert found["msg"].startswith(f"the key {DOCKER['key_url']} cannot be downloaded: ")
    assert words in found["msg"]
    assert "\x1b" not in found["msg"]
    assert host.files() == {}


def test_an_address_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One document, not two."""
    monkeypatch.setattr(apt_source, "APT", str(tmp_path))
    with patch_module_args({**DOCKER, "key_url": "download.example/gpg"}), pytest.raises(SystemExit):
        apt_source.main()
    found = json.loads(capsys.readouterr().out)
    assert found["msg"] == (
        "the key download.example/gpg cannot be downloaded: unknown url type: 'download.example/gpg'"
    )
