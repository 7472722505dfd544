# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that answers: what is read of it, of its host and of its download, and what is asked of it."""

from __future__ import annotations

import http.server
import json
import os
import re
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
from health_host import FIXTURES, MODEL, Host, Server, run

from support import documented


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
