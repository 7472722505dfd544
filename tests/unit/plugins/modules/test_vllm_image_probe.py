# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_image_probe with a stand-in for the docker command: what it starts, keeps and says."""

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import image_probe
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_image_probe

from support.paths import ROOT

Result = dict[str, t.Any]
RECORDED = ROOT / "tests/fixtures/vllm/0.32/image_probe.json"
ID, OTHER = ("sha256:" + letter * 64 for letter in "ab")
DOCKER = """#!/bin/sh
echo "$*" >> "$STATE/calls"
case "$1" in
image) cat "$STATE/inspect" && exit; echo "Error response from daemon: No such image: x" >&2; exit 1 ;;
run) cat > "$STATE/stdin"; . "$STATE/run" ;;
esac
"""
ANSWERS = f'echo "INFO: loading" >&2; cat {RECORDED}'


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.kept = folder / "lib" / "images"
        (folder / "docker").write_text(DOCKER)
        (folder / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("STATE", str(folder))
        monkeypatch.setattr(image_probe, "FOLDER", str(self.kept))
        self.has(ID)

    def has(self, ident: str, run: str = ANSWERS) -> None:
        (self.folder / "inspect").write_text(json.dumps({"Id": ident, "Config": {"Env": ["HF_TOKEN=hf_x"]}}))
        (self.folder / "run").write_text(run)

    def probe(self, **options: t.Any) -> Result:
        with patch_module_args({"image": "r.example/vllm:1", **options}), pytest.raises(SystemExit):
            vllm_image_probe.main()
        found: Result = json.loads(self.capsys.readouterr().out)
        assert found.get("failed", False) is False
        assert found["changed"] is False
        assert (found["reason"] is None) is (found["probe"] is not None)
        return found

    def calls(self, word: str) -> list[str]:
        calls = self.folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if line.split()[0] == word]


@pytest.fixture(name="host")
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def test_an_image_is_asked_once(host: Host) -> None:
    first = host.probe()
    assert (first["cached"], first["id"], first["probe"]["vllm"]) == (False, ID, "0.32.0")
    (call,) = host.calls("run")
    for word in ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--memory=3g", "--pull=never"):
        assert word in call.split()
    assert call.endswith(f"--entrypoint=python3 {ID} -")
    assert (host.folder / "stdin").read_text().strip() == image_probe.script().strip()
    again = host.probe()
    assert again["cached"]
    assert again["probe"] == first["probe"]
    assert len(host.calls("run")) == 1
    (kept,) = host.kept.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644
    assert "hf_x" not in kept.read_text()
    host.has(OTHER)
    assert not host.probe()["cached"]
    assert len(host.calls("run")) == 2


def test_check_mode_starts_no_container(host: Host) -> None:
    found = host.probe(_ansible_check_mode=True)
    assert (found["probe"], host.calls("run"), host.kept.exists()) == (None, [], False)
    assert "check mode" in found["reason"]
    host.probe()
    assert host.probe(_ansible_check_mode=True)["probe"]["vllm"] == "0.32.0"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"question": "0", "answer": {}}', "\x00\xff"], ids=["empty", "cut", "list", "old", "bytes"]
)
def test_a_kept_answer_that_is_none_is_asked_for_again(host: Host, text: str) -> None:
    host.probe()
    (kept,) = host.kept.iterdir()
    kept.write_bytes(text.encode("latin-1"))
    assert not host.probe()["cached"]
    assert host.probe()["cached"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ("echo no JSON", "it did not answer: it said nothing"),
        ("head -c 3000000 /dev/zero | tr '\\0' '['", "it did not answer: "),
        (f"head -c 500 {RECORDED}", "it did not answer: "),
        ("exit 127", "it did not answer: docker run ended with 127"),
        ("kill -KILL $$", "it did not answer: docker run ended with 137"),
        ("printf 'x\\n\\033[31mTraceback\\007\\n' >&2; exit 0", "it did not answer: Traceback"),
    ],
    ids=["text", "huge", "cut", "fails", "killed", "control"],
)
def test_an_image_without_an_answer_is_no_failure(host: Host, run: str, reason: str) -> None:
    host.has(ID, run)
    found = host.probe()
    assert (found["probe"], found["entry"], found["id"]) == (None, None, ID)
    assert found["reason"].startswith(reason)
    assert len(host.calls("rm")) == 1  # docker run may have left it
    assert not host.kept.exists()


def test_an_image_that_is_not_on_the_host(host: Host) -> None:
    (host.folder / "inspect").unlink()
    found = host.probe()
    assert (found["id"], found["image"], found["reason"]) == (None, None, "r.example/vllm:1 is not on the host")
    assert host.calls("run") == []
