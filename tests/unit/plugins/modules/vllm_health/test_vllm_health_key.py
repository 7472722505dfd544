# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key is sent to our own container alone, on every path, and shows nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import probe
from health_host import KEY, Host, Server, run


def test_key_comes_from_the_env_file_and_shows_nowhere(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server[0].key = KEY
    host.container(f"non-default args: {KEY} hf_AbC123\n")
    (tmp_path / ".env").write_text(f"HF_TOKEN='hf_AbC123'\nVLLM_API_KEY='{KEY}'\n")
    found = run(host, capsys, env_file=str(tmp_path / ".env"))
    assert found["verdict"] == "ready"
    assert found["last_line"] == "non-default args: *** hf_***"
    text = json.dumps(found) + host.calls.read_text()
    assert KEY not in text
    assert "AbC123" not in text


def test_the_log_of_a_stopped_container_hides_the_key_of_its_own_release(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was interrupted: `current` names another release, with another key."""
    monkeypatch.setattr(services, "UNITS", str(tmp_path))
    release = tmp_path / "home" / "releases" / "0123456789ab"
    release.mkdir(parents=True)
    (release / ".env").write_text(f"VLLM_API_KEY='{KEY}'\n")
    (tmp_path / ".env").write_text("VLLM_API_KEY='another-key-than-that'\n")
    (tmp_path / "vllm.service").write_text(f"# Written by dgxspark.vllm.\nWorkingDirectory={tmp_path}/home/current\n")
    host.container(f"non-default args: {KEY}\n", Status="exited", ExitCode=1)
    entry = json.loads((host.folder / "inspect.json").read_text())
    entry[0]["Config"]["Labels"] = {"dgxspark.vllm.service": "vllm", "dgxspark.vllm.release": release.name}
    entry[0]["Mounts"] = [{"Type": "bind", "Source": f"{tmp_path}/home/cache", "Destination": "/root/.cache"}]
    (host.folder / "inspect.json").write_text(json.dumps(entry))
    host.unit("")
    found = run(host, capsys, service="vllm", env_file=str(tmp_path / ".env"))
    assert found["last_line"] == "non-default args: ***"
    assert KEY not in json.dumps(found)


@pytest.mark.parametrize("content", [None, "VLLM_API_KEY='wrong'\n"])
def test_key_refused(
    host: Host,
    server: tuple[type[Server], int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: str | None,
) -> None:
    server[0].key = KEY
    host.container("")
    if content:
        (tmp_path / ".env").write_text(content)
    found = run(host, capsys, env_file=str(tmp_path / ".env"))
    assert (found["verdict"], found["cause"]["id"]) == ("degraded", "key_refused")


def with_key(host: Host, server: type[Server], folder: Path) -> str:
    server.key = KEY
    host.container("")
    (folder / ".env").write_text(f"VLLM_API_KEY='{KEY}'\n")
    return str(folder / ".env")


def test_every_path_is_asked_with_the_key(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = run(host, capsys, env_file=with_key(host, server[0], tmp_path))
    assert (found["verdict"], found["vllm_version"]) == ("ready", "0.32.0")
    assert found["metrics"]["generation_tokens"] == 40


def test_a_server_that_answers_without_the_key_is_not_ready(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server[0].open_paths = True
    server[0].replies["/invocations"] = (400, "")  # it would have answered a right question
    found = run(host, capsys, env_file=with_key(host, server[0], tmp_path))
    assert (found["verdict"], found["cause"]["id"]) == ("degraded", "key_not_asked")
    assert found["cause"]["evidence"] == "without a key /invocations answers HTTP 400, /metrics answers HTTP 200"
    assert KEY not in json.dumps(found)


def test_without_a_key_no_path_is_closed(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]
) -> None:
    host.container("")
    assert run(host, capsys)["verdict"] == "ready"
    assert "/invocations" not in [path for path, _body in server[0].requests]


@pytest.mark.parametrize("container", ["vllm-x", "vllm-old"])  # with our name, or with our label alone
@pytest.mark.parametrize(
    "whose", ["ours", "ours, with a key of its own", "another release's", "an image with our labels"]
)
def test_the_key_is_for_our_own_container(
    host: Host,
    server: tuple[type[Server], int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    container: str,
    whose: str,
) -> None:
    monkeypatch.setattr(services, "UNITS", str(tmp_path))
    labels = {"dgxspark.vllm.service": "vllm", "dgxspark.vllm.release": "0123456789ab"}
    (tmp_path / "vllm.service").write_text(f"# Written by dgxspark.vllm.\nWorkingDirectory={tmp_path}/home/current\n")
    if whose != "another release's":
        (tmp_path / "home" / "releases" / "0123456789ab").mkdir(parents=True)
    sent = keys(server[0], monkeypatch)
    host.container("")
    entry = json.loads((host.folder / "inspect.json").read_text())
    entry[0].update(Name=f"/{container}", Config={"Image": "vllm:1", "Labels": labels})
    if whose != "an image with our labels":  # what only who starts a container gives it
        entry[0]["Mounts"] = [{"Type": "bind", "Source": f"{tmp_path}/home/cache", "Destination": "/root/.cache"}]
    entry[0]["HostConfig"] = {"PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": str(host.port)}]}}
    (host.folder / "inspect.json").write_text(json.dumps(entry))
    host.program(
        "docker",
        f'case "$*" in ps*) echo vllm-old;; *\\ {container}) cat "{host.folder}/inspect.json";;'
        ' inspect*) echo "Error: No such container" >&2; exit 1;; esac',
    )
    (tmp_path / ".env").write_text(f"VLLM_API_KEY='{KEY}'\n")
    if whose == "ours, with a key of its own":  # that of the service is the one of `current`, another release
        (tmp_path / "home" / "releases" / "0123456789ab" / ".env").write_text(f"VLLM_API_KEY='{KEY}'\n")
        (tmp_path / ".env").write_text("VLLM_API_KEY='another-key-than-that'\n")
    url = f"http://127.0.0.1:{host.port}"
    found = run(host, capsys, url=url, service="vllm", env_file=str(tmp_path / ".env"))
    if whose.startswith("ours"):
        assert f"Bearer {KEY}" in sent  # and none with the look for paths that are open without it
    else:
        assert set(sent) <= {None}
        assert (found["verdict"] == "absent") == (container == "vllm-old")


def test_the_key_is_not_for_whoever_has_the_port(
    host: Host,
    server: tuple[type[Server], int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Our container runs, on the port of an earlier deployment."""
    monkeypatch.setattr(probe, "is_our_own", lambda _found: True)
    sent = keys(server[0], monkeypatch)
    host.container("")
    entry = json.loads((host.folder / "inspect.json").read_text())
    entry[0]["HostConfig"] = {"PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": "9"}]}}
    (host.folder / "inspect.json").write_text(json.dumps(entry))
    (tmp_path / ".env").write_text(f"VLLM_API_KEY='{KEY}'\n")
    run(host, capsys, service="vllm", env_file=str(tmp_path / ".env"))
    assert sent
    assert set(sent) == {None}


def keys(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What the server gets as its key."""
    sent: list[str | None] = []
    answer = server._answer

    def noted(self: Server, body: str | None) -> None:
        sent.append(self.headers["Authorization"])
        answer(self, body)

    monkeypatch.setattr(server, "_answer", noted)
    return sent
