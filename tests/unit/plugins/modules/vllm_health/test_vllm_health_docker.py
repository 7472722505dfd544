# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker that does not answer, and logs that are huge, broken or hostile."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import probe
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_health
from health_host import FIXTURES, Host, Server, run


def test_nothing_of_it_moves_the_terminal(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "a\x1b]0;owned\x07\x1b]52;c;cm0gLXJmIH4K\x07\x9b2J\u202e\x1b[31m"
    host.container(f"INFO: {evil}\nRuntimeError: boom {evil}\n")
    host.unit(journal=evil)
    server[0].replies["/v1/models"] = (200, json.dumps({"data": [{"id": evil}]}))
    server[0].replies["/version"] = (200, json.dumps({"version": evil}))
    server[0].replies["/v1/completions"] = (500, json.dumps({"error": {"message": f"{evil}\nnext"}}))
    inspected = json.loads((host.folder / "inspect.json").read_text())
    inspected[0]["Config"] = {"Image": evil, "Labels": {evil: evil}}
    inspected[0]["Name"] = f"/{evil}"
    (host.folder / "inspect.json").write_text(json.dumps(inspected))
    for replies in (server[0].replies, {}):
        server[0].replies = replies
        found = run(host, capsys, service="vllm")
        text = json.dumps(found, ensure_ascii=False)
        assert not re.search(r"\\u00[01]|\\[bf]|[\x7f-\x9f\u202a-\u202e\u2066-\u2069]|owned", text), text


def test_docker_down(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.program("docker", 'echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." >&2; exit 1')
    found = run(host, capsys)
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "docker_down")


def test_docker_hangs(host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "COMMAND_TIMEOUT", 0.2)
    host.program("docker", "exec sleep 60")
    found = run(host, capsys)
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "docker_error")
    assert "gave no answer" in found["cause"]["evidence"]


def test_no_docker(host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_health.AnsibleModule, "get_bin_path", lambda *args, **kwargs: None)
    found = run(host, capsys)
    assert (found["verdict"], found["cause"]["id"]) == ("absent", "docker_missing")


def test_huge_log_is_read_at_both_ends(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "LOG_HEAD", 20_000)
    monkeypatch.setattr(probe, "LOG_TAIL", 1_000)
    start = (FIXTURES / "0.10.1.1" / "startup.log").read_text()
    host.container(start + "INFO:     \u2588 request\n" * 9000 + "the end\n")
    found = run(host, capsys)
    assert (found["weights_gib"], found["last_line"]) == (8.8011, "the end")
    assert found["log_lines"] < 2000


def test_bytes_that_are_no_text(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container("")
    (host.folder / "log").write_bytes(b"caf\xe9 \xff\n")
    assert run(host, capsys)["last_line"].startswith("caf")
