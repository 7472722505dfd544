# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module itself, with programs that stand in for Docker and systemd and a server that stands in for vLLM."""

from __future__ import annotations

import datetime
import http.server
import json
import os
import re
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import installed
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import probe
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import Answer, Metrics
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_health

from support import documented

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"
KEY = "s3cret-key"
MODEL = "Qwen/Qwen3-8B-FP8"
Reply = tuple[int, str]


class Host:
    """What the module finds on the host."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.calls = folder / "calls"

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.calls}"\n{script}\n')
        path.chmod(0o755)

    def container(self, log: Path | str, **state: t.Any) -> None:
        """A container with this log."""
        values = {
            "Status": "running",
            "ExitCode": 0,
            "StartedAt": "2026-11-23T09:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        }
        restarts = state.pop("restarts", 0)
        entry = {
            "Id": "0123456789ab" * 5,
            "Name": "/vllm-x",
            "RestartCount": restarts,
            "State": {**values, **state},
            "Config": {"Image": "vllm:1", "Labels": {"dgxspark.vllm.release": "abc"}},
        }
        (self.folder / "inspect.json").write_text(json.dumps([entry]))
        if isinstance(log, str):
            (self.folder / "log").write_text(log)
            log = self.folder / "log"
        self.program("docker", f'case "$1" in inspect) cat "{self.folder}/inspect.json";; logs) cat "{log}" >&2;; esac')

    def no_container(self) -> None:
        self.program("docker", 'echo "Error: No such container: vllm-x" >&2; exit 1')

    def unit(self, journal: str = "", **values: t.Any) -> None:
        defaults = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": 0}
        lines = "\n".join(f"{key}={value}" for key, value in {**defaults, **values}.items())
        self.program("systemctl", f"cat <<'END'\n{lines}\nEND")
        self.program("journalctl", f"cat <<'END'\n{journal}\nEND")


class Server(http.server.BaseHTTPRequestHandler):
    replies: dict[str, Reply]
    key: str | None
    open_paths = False  # asks for the key as vLLM alone does
    requests: list[tuple[str, str | None]]

    def _answer(self, body: str | None) -> None:
        self.requests.append((self.path, body))
        status, text = self.replies.get(self.path, (404, ""))
        asks = self.path.startswith("/v1") if self.open_paths else self.path != "/health"
        if self.key and asks and self.headers["Authorization"] != f"Bearer {self.key}":
            status, text = 401, '{"error":"Unauthorized"}'
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


@pytest.fixture
def server() -> t.Iterator[tuple[type[Server], int]]:
    class Mine(Server):
        replies: t.ClassVar[dict[str, Reply]] = {
            "/health": (200, ""),
            "/version": (200, '{"version":"0.32.0"}'),
            "/v1/models": (200, json.dumps({"data": [{"id": MODEL, "max_model_len": 32768}]})),
            "/v1/completions": (200, '{"choices":[{"text":" I"}],"usage":{"completion_tokens":1}}'),
            "/metrics": (200, (FIXTURES / "0.32" / "metrics.txt").read_text()),
        }
        key = None
        requests: t.ClassVar[list[tuple[str, str | None]]] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield Mine, httpd.server_port
        httpd.shutdown()
        thread.join()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[type[Server], int]) -> Host:
    found = Host(tmp_path, server[1])
    found.program("docker", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return found


def run(host: Host, capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    arguments = {"container": "vllm-x", "url": f"http://127.0.0.1:{host.port}/", **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        vllm_health.main()
    found: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    assert found["changed"] is False
    return found


def test_ready(host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.10.1.1" / "startup.log")
    host.unit()
    found = run(host, capsys, service="vllm", model=MODEL, max_model_len=32768)
    assert (found["verdict"], found["phase"], found["cause"]) == ("ready", "ready", None)
    assert found["completion"]["tokens"] == 1
    assert found["kv_cache_tokens"] == 2_097_152
    assert found["weights_gib"] == 8.8011
    assert found["vllm_version"] == "0.32.0"
    assert found["metrics"]["generation_tokens"] == 40
    assert found["container"]["labels"] == {"dgxspark.vllm.release": "abc"}
    assert found["service"] == {"active_state": "active", "result": "", "restarts": 0}
    [body] = [body for path, body in server[0].requests if path == "/v1/completions"]
    assert json.loads(body or "") == {"model": MODEL, "prompt": "Hello", "max_tokens": 1, "temperature": 0}


def test_only_the_log_of_this_start_is_read(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "startup_ok.log")
    run(host, capsys)
    assert "docker logs --since 1795424398.000000 0123456789ab\n" in host.calls.read_text()


@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_that_was_set_since_the_start(host: Host, capsys: pytest.CaptureFixture[str], years: int) -> None:
    """The clock is YEARS ahead of the one at the start, and the last line is of before."""
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=365 * years)
    process = subprocess.Popen(["sleep", "60"])
    host.port = 9  # nobody answers: it loads
    stamp = then.isoformat().replace("+00:00", "Z")
    host.container(f"{stamp} a line", StartedAt=stamp, Pid=process.pid)
    found = run(host, capsys, stall_timeout=30)
    process.kill()
    process.wait()
    assert found["verdict"] == "loading"
    assert 0 <= found["idle_seconds"] < 30
    since = float(re.findall(r"--since ([0-9.]+)", host.calls.read_text())[0])
    assert since < min(then.timestamp(), time.time())


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


def test_frozen_engine(host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]) -> None:
    release = threading.Event()

    class Frozen(server[0]):  # type: ignore[name-defined, misc]
        def do_POST(self) -> None:
            release.wait(10)

    host.container("")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Frozen) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        try:
            found = run(host, capsys, url=f"http://127.0.0.1:{httpd.server_port}", canary_timeout=1)
            assert run(host, capsys, url=f"http://127.0.0.1:{httpd.server_port}", canary=False)["verdict"] == "ready"
        finally:
            release.set()
            httpd.shutdown()
    assert (found["verdict"], found["cause"]["id"]) == ("degraded", "canary_timeout")


CHAT = "/v1/chat/completions"
CALLED = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
WRITTEN = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'


@pytest.mark.parametrize(
    ("message", "parsers", "cause"),
    [
        ({"tool_calls": [{"function": CALLED}]}, {"tool_call": "proven", "reasoning": "not_seen"}, None),
        ({"content": WRITTEN}, {"tool_call": "not_seen", "reasoning": "not_seen"}, "tool_parser"),
        ({"content": "<think>Rain.</think>"}, {"tool_call": "not_seen", "reasoning": "not_seen"}, "reasoning_parser"),
    ],
)
def test_parsers(
    host: Host,
    server: tuple[type[Server], int],
    capsys: pytest.CaptureFixture[str],
    message: dict[str, t.Any],
    parsers: dict[str, str],
    cause: str | None,
) -> None:
    host.container("")
    server[0].replies[CHAT] = (200, json.dumps({"choices": [{"message": message}]}))
    found = run(host, capsys, parsers=["tool_call", "reasoning"])
    assert (found["parsers"], (found["cause"] or {}).get("id")) == (parsers, cause)
    assert found["verdict"] == ("degraded" if cause else "ready")
    (asked,) = (json.loads(body or "") for path, body in server[0].requests if path == CHAT)
    assert asked["tools"][0]["function"]["name"] == "get_weather"


def test_a_chat_request_that_is_refused(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]
) -> None:
    host.container("")
    server[0].replies[CHAT] = (400, '{"error": {"message": "no chat template"}}')
    assert run(host, capsys)["parsers"] == {}  # nobody asked for the proof
    found = run(host, capsys, parsers=["reasoning"])
    assert (found["verdict"], found["cause"]["id"]) == ("degraded", "chat_failed")
    assert "no chat template" in found["cause"]["evidence"]


def test_other_model_is_not_asked_for_a_token(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]
) -> None:
    host.container("")
    found = run(host, capsys, model="other")
    assert (found["verdict"], found["cause"]["id"], found["model"]) == ("degraded", "wrong_model", MODEL)
    assert not [path for path, _body in server[0].requests if path == "/v1/completions"]


def test_failed_start(host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "maxlen.log", Status="exited", ExitCode=1, FinishedAt="2026-11-23T09:00:09Z")
    found = run(host, capsys)
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "max_len_gt_model")
    assert "set vllm_max_model_len to 4096" in found["cause"]["remedy"]
    assert server[0].requests == []


def test_attempt_before_is_read_after_a_restart(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    host.container("", restarts=1, StartedAt=now)
    old = FIXTURES / "0.32" / "badquant.log"
    host.program(
        "docker",
        f'case "$*" in inspect*) cat "{host.folder}/inspect.json";; *--until*) cat "{old}";; esac',
    )
    found = run(host, capsys, url="http://127.0.0.1:9")
    assert (found["verdict"], found["container"]["restarts"]) == ("loading", 1)
    assert found["previous_cause"]["id"] == "unknown_quant"


def test_a_loading_server_that_says_nothing_more_is_stuck(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    line = "INFO 11-23 09:07:31 [x.py:1] Starting to load model x..."
    host.container(f"{line}\n")
    host.program(
        "docker",
        f'case "$*" in inspect*) cat "{host.folder}/inspect.json";;'
        f' *--timestamps*) echo "2026-11-23T09:07:31.000000001Z {line}";; logs*) cat "{host.folder}/log";; esac',
    )
    found = run(host, capsys, url="http://127.0.0.1:9", stall_timeout=60)
    assert (found["verdict"], found["phase"], found["cause"]["id"]) == ("stuck", "load", "stuck")
    assert found["idle_seconds"] > 60
    assert "docker logs --timestamps --since" in host.calls.read_text()


def test_what_runs_under_another_name_is_found(
    host: Host,
    capsys: pytest.CaptureFixture[str],
    server: tuple[type[Server], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host.container("")
    entry = json.loads((host.folder / "inspect.json").read_text())
    entry[0]["Name"] = "/vllm-old"
    entry[0]["HostConfig"] = {"PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": str(host.port)}]}}
    (host.folder / "inspect.json").write_text(json.dumps(entry))
    host.program(
        "docker",
        f'case "$*" in ps*label=dgxspark.vllm.service=vllm-two\\ *) echo vllm-old;;'
        f' *vllm-old) cat "{host.folder}/inspect.json";; inspect*) echo "Error: No such container" >&2; exit 1;; esac',
    )
    host.unit()
    monkeypatch.setattr(probe, "is_our_own", lambda found: found.labels == {"dgxspark.vllm.release": "abc"})
    # nobody listens where the wanted release would be
    found = run(host, capsys, url="http://127.0.0.1:9", service="vllm-two.service", model="new")
    assert (found["verdict"], found["cause"]["id"], found["model"]) == ("degraded", "other_release", MODEL)
    assert found["cause"]["evidence"] == f"served: {MODEL} (release abc); wanted: new"
    assert found["container"]["name"] == "vllm-old"
    assert found["completion"]["tokens"] == 1


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


@pytest.mark.parametrize("there", [True, False])
def test_the_host_is_read_in_the_same_call(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str], tmp_path: Path, there: bool
) -> None:
    if there:
        host.container("")
    else:
        host.no_container()
    found = run(host, capsys, read_host={}, cache_path=str(tmp_path), cache_repo=MODEL)
    assert found["verdict"] == ("ready" if there else "absent")
    assert found["spark"]["cache"] == {"path": str(tmp_path), "folder": str(tmp_path)}
    assert found["spark"]["memory"]["total_bytes"] > 0
    # of its own port only where it does not run: another process of this machine has it here
    assert ((found["spark"]["listener"] or {}).get("port") == server[1]) is not there
    assert "spark" not in run(host, capsys)


def test_what_a_deployment_asks_of_the_host_besides(
    host: Host, server: tuple[type[Server], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    host.container("")
    host.unit(Id="vllm.service", UnitFileState="enabled", NeedDaemonReload="no", ConflictedBy="")
    asked = {"port": server[1], "address": "127.0.0.1", "files": [str(tmp_path / "file")], "units": ["vllm.service"]}
    before = int(time.time())
    found = run(host, capsys, service="vllm.service", read_host=asked, home=str(tmp_path / "none"))
    assert found["spark"]["listener"]["port"] == server[1]  # also of its own port while it runs
    assert found["spark"]["files"][str(tmp_path / "file")]["mode"]
    assert list(found["spark"]["units"]) == ["vllm.service"]
    assert found["spark"]["time"] - before <= 1  # what was read is no older than that
    assert (found["releases"]["current"], found["releases"]["owned"]) == (None, False)
    assert "releases" not in run(host, capsys)


def test_a_folder_of_releases_that_may_not_be_read(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str) -> t.NoReturn:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(installed, "describe", refused)
    host.container("")
    arguments = {"container": "vllm-x", "url": f"http://127.0.0.1:{host.port}/", "home": str(tmp_path)}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        vllm_health.main()
    found = json.loads(capsys.readouterr().out)
    assert found["failed"]
    assert str(tmp_path) in found["msg"]


def test_releases_that_were_started_and_never_proven(
    host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "UNITS", str(tmp_path))
    (tmp_path / "vllm.service").write_text(f"# Written by dgxspark.vllm.\nWorkingDirectory={tmp_path}/home/current\n")
    for name, files in {"1" * 12: ["started"], "2" * 12: ["started", "good"], "3" * 12: []}.items():
        release = tmp_path / "home" / "releases" / name
        release.mkdir(parents=True)
        for file in ("compose.yaml", *files):
            (release / file).write_text("5.0 1\n")
    os.utime(tmp_path / "home" / "releases" / ("1" * 12) / "started", (9, 9))
    host.container("")
    host.unit()
    read = {"read_host": {}, "cache_path": str(tmp_path), "cache_repo": MODEL}
    assert run(host, capsys, service="vllm.service", **read)["failed_releases"] == {"1" * 12: 9.0}
    assert run(host, capsys, **read)["failed_releases"] == {}


def keys(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What the server gets as its key."""
    sent: list[str | None] = []
    answer = server._answer

    def noted(self: Server, body: str | None) -> None:
        sent.append(self.headers["Authorization"])
        answer(self, body)

    monkeypatch.setattr(server, "_answer", noted)
    return sent


def test_rates_are_measured_between_two_pages(
    host: Host, capsys: pytest.CaptureFixture[str], server: tuple[type[Server], int]
) -> None:
    host.container("")
    page = (FIXTURES / "0.32" / "metrics.txt").read_text()
    page = re.sub(r"(?m)^(vllm:num_requests_running.*) .*$", r"\1 1.0", page)

    class Busy(server[0]):  # type: ignore[name-defined, misc]
        tokens = 40

        def do_POST(self) -> None:
            Busy.tokens += 10_000  # the canary: it comes after what was counted
            super().do_POST()

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self.replies["/metrics"] = (
                    200,
                    re.sub(r"(?m)^(vllm:generation_tokens_total.*) .*$", rf"\1 {Busy.tokens}", page),
                )
                Busy.tokens += 100
            super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_port}"
        still = run(host, capsys, url=url)["metrics"]
        found = run(host, capsys, url=url, sample_seconds=0.2)["metrics"]
        httpd.shutdown()
    assert still["generation_tokens_per_second"] is None
    assert 0 < found["generation_tokens_per_second"] <= 500
    assert found["prompt_tokens_per_second"] == 0


@pytest.mark.parametrize(
    ("running", "waiting", "waits"), [(0, 0, False), (1, 0, True), (0, 1, True), (None, None, True)]
)
def test_only_a_server_with_requests_is_waited_for(
    running: int | None, waiting: int | None, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = dict.fromkeys(("prompt_tokens", "generation_tokens"), 7)
    first, last = (Metrics({"running": running, "waiting": waiting, **counted}) for _ in range(2))
    look = probe.Probe.__new__(probe.Probe)
    look.options, look.sample, look.sampled_at = {"sample_seconds": 60}, first, time.monotonic()
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(look, "get", lambda _path: Answer(200))
    monkeypatch.setattr(probe, "parse_metrics", lambda _page: last)
    assert look.metrics() is last
    assert bool(slept) == waits
    assert last.values["generation_tokens_per_second"] == 0


def test_absent(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.no_container()
    found = run(host, capsys)
    assert (found["verdict"], found["phase"], found["container"]) == ("absent", None, None)


def test_journal_of_the_unit_says_why_there_is_no_container(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.no_container()
    host.unit("Error response from daemon: manifest unknown", ActiveState="failed", InvocationID="abc")
    found = run(host, capsys, service="vllm")
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "docker_image")
    assert "_SYSTEMD_INVOCATION_ID=abc" in host.calls.read_text()


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


def test_download(host: Host, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    host.container("")
    blobs = tmp_path / "hf" / "models--Qwen--Qwen3-8B-FP8" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{'a' * 64}.0123abcd.incomplete").write_bytes(b"x" * 65536)
    options = {"url": "http://127.0.0.1:9", "cache_path": str(tmp_path / "hf"), "cache_repo": MODEL}
    found = run(host, capsys, expected_bytes=131072, **options)
    assert (found["verdict"], found["phase"]) == ("loading", "download")
    assert (found["progress"]["bytes"], found["progress"]["percent"]) == (65536, 50)


def test_check_mode_says_the_same(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container("")
    assert run(host, capsys, _ansible_check_mode=True, wait=True)["verdict"] == "ready"


def test_documentation_and_argument_spec_agree() -> None:
    described = documented.options(vllm_health)
    spec = vllm_health.argument_spec()
    assert {
        name: (option["type"], option.get("default"), option.get("required", False))
        for name, option in described.items()
    } == {name: (option["type"], option.get("default"), option.get("required", False)) for name, option in spec.items()}


def test_documentation_names_every_key_of_the_result(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "startup_ok.log")
    host.unit()
    found = run(host, capsys, service="vllm")
    documented = yaml.safe_load(vllm_health.RETURN)
    of_host = {"spark", "clock", "failed_releases", "releases"}
    assert set(found) - {"changed", "invocation"} == set(documented) - {"seconds", "msg"} - of_host
    for name in ("progress", "metrics", "container", "service", "completion"):
        assert set(found[name]) == set(documented[name]["contains"]) - {"rate_bps"}, name


def test_systemd_gave_up(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "maxlen.log", Status="exited", ExitCode=1)
    lines = "vllm.service: Start request repeated too quickly.\nvllm.service: Failed with result 'exit-code'."
    host.unit(lines, ActiveState="failed", SubState="failed", NRestarts=4)
    found = run(host, capsys, service="vllm")
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "gave_up")
    assert found["cause"]["link"] == "docs/troubleshooting.md#gave_up"
    assert "than the 4096 tokens" in found["cause"]["meaning"]


def test_the_remedy_of_a_stopped_server_names_its_unit_which_a_stop_disables(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.container("", Status="exited", ExitCode=143)
    host.unit("", ActiveState="inactive", SubState="dead")
    cause = run(host, capsys, service="vllm-chat")["cause"]
    assert (cause["id"], "`systemctl enable --now vllm-chat`" in cause["remedy"]) == ("stopped", True)


def test_a_unit_that_failed_for_another_reason_did_not_give_up(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "maxlen.log", Status="exited", ExitCode=1)
    host.unit("vllm.service: Stopped.", ActiveState="failed", SubState="failed", NRestarts=1)
    assert run(host, capsys, service="vllm")["cause"]["id"] == "max_len_gt_model"


def test_the_guard_refused_the_start(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container("", Status="exited", ExitCode=137)
    line = (
        "not started: 20.0 GiB of memory are needed, 4.0 GiB are available after 2 s;"
        " most is held by sh (pid 7) 3.0 GiB"
    )
    host.unit(line, ActiveState="activating", SubState="auto-restart", InvocationID="ab12")
    found = run(host, capsys, service="vllm")
    assert (found["verdict"], found["cause"]["id"]) == ("failed", "start_memory")
    assert "most is held by sh (pid 7) 3.0 GiB" in found["cause"]["meaning"]
    assert "_SYSTEMD_INVOCATION_ID=ab12" in host.calls.read_text()


OLD_START = {"Status": "exited", "StartedAt": "2026-11-23T08:00:00Z", "FinishedAt": "2026-11-23T09:00:00Z"}


@pytest.mark.parametrize(
    ("values", "journal", "hint"),
    [
        (
            {"ActiveState": "activating", "SubState": "start-pre", "InvocationID": "ab12"},
            "20.0 GiB of memory wanted, 4.0 GiB available: waiting",
            "the start waits for 20.0 GiB of memory, of which 4.0 GiB are available",
        ),
        ({"ActiveState": "activating", "SubState": "start-pre", "InvocationID": "ab12"}, "", None),
        # without its number the journal is that of earlier starts too
        ({"ActiveState": "activating", "SubState": "start-pre"}, "Loading weights took 9 seconds", None),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "InvocationID": "ab12"},
            "not started: 20.0 GiB of memory are needed, 4.0 GiB are available after 2 s; most is held by x (pid 7)",
            None,
        ),
        # Docker could not start the container
        (
            {
                "ActiveState": "failed",
                "SubState": "failed",
                "InvocationID": "ab12",
                "ExecMainStartTimestampMonotonic": int(time.monotonic() * 1e6),
            },
            "listen tcp4 127.0.0.1:8000: bind: address already in use",
            None,
        ),
    ],
)
def test_the_log_of_what_served_before_is_no_progress_of_a_start(
    host: Host, capsys: pytest.CaptureFixture[str], values: dict[str, t.Any], journal: str, hint: str | None
) -> None:
    host.container(FIXTURES / "0.32" / "startup_ok.log", **OLD_START)
    host.unit(journal, **values)
    found = run(host, capsys, service="vllm")
    assert found["phase"] == "container"
    assert (found["kv_cache_tokens"], found["progress"]["shards_total"]) == (None, None)
    assert (found["hint"] or {}).get("meaning") == hint
    assert found["last_line"] == (journal if "InvocationID" in values else "")


def test_the_log_of_a_start_that_ended_is_still_read(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(FIXTURES / "0.32" / "startup_ok.log", **OLD_START)
    host.unit(ActiveState="inactive", SubState="dead", InvocationID="ab12")
    assert run(host, capsys, service="vllm")["kv_cache_tokens"] is not None
