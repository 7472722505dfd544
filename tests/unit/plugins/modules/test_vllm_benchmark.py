# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module itself, with programs that stand in for Docker and the GPU and a server that stands in for vLLM.

`docker exec` runs the script of the module for real; the client in it is a program that writes a recorded result.
"""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import bench_run
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_benchmark

from support import documented

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"
MODEL = "Qwen/Qwen3-8B-FP8"
KEY = "s3cret-key"
RELEASE = "0123456789ab"
DIGEST = "sha256:" + "a" * 64
CELL = {"name": "c4", "concurrency": 4, "prompts": 8, "input_tokens": 32, "output_tokens": 16}
METRICS = """\
vllm:num_requests_running{{engine="0"}} {running}
vllm:num_requests_waiting{{engine="0"}} 0
vllm:num_preemptions_total{{engine="0"}} {preemptions}
vllm:generation_tokens_total{{engine="0"}} {tokens}
"""


class Server(http.server.BaseHTTPRequestHandler):
    state: t.ClassVar[dict[str, t.Any]]
    replies: t.ClassVar[dict[str, tuple[int, str]]]

    def do_GET(self) -> None:
        status, text = self.replies.get(self.path, (404, "{}"))
        if self.path == "/metrics":
            done = self.state["done"].exists()
            counted = {"tokens": self.state["tokens"] if done else 0, "preemptions": 5 if done else 3}
            status, text = 200, METRICS.format(running=self.state["running"], **counted)
        if self.state["key"] and self.headers["Authorization"] != f"Bearer {self.state['key']}":
            status, text = 401, '{"error":"Unauthorized"}'
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


class Host:
    """A service that the role has deployed, and that serves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.done = folder / "done"  # the client has run
        home = folder / "vllm"
        (home / "releases" / RELEASE).mkdir(parents=True)
        (home / "releases" / RELEASE / ".env").write_text(f"VLLM_API_KEY='{KEY}'\n")
        (folder / "units").mkdir()
        unit = f"# Written by dgxspark.vllm. X\n[Service]\nWorkingDirectory={home}/current\n"
        (folder / "units" / "vllm.service").write_text(unit)
        monkeypatch.setattr(services, "UNITS", str(folder / "units"))
        monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
        self.client(f'cat "{FIXTURES}/0.32/bench_serve.json"')
        self.program("nvidia-smi", "echo 'NVIDIA GB10, 580.142, 97, 71, 64.1, 2418'")

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.calls}"\n{script}\n')
        path.chmod(0o755)

    def client(self, result: str, code: int = 0) -> None:
        """`vllm` in the container: what writes its result, and its exit code."""
        self.program(
            "vllm",
            f'echo "key=$OPENAI_API_KEY offline=$HF_HUB_OFFLINE proxy=$HTTP_PROXY" >>"{self.calls}"\n'
            f'touch "{self.done}"\n'
            'while [ $# -gt 0 ]; do case "$1" in --result-dir) dir=$2;; esac; shift; done\n'
            f'( {result} ) >"$dir/result.json"\nexit {code}',
        )

    def container(self, port: int, **changes: t.Any) -> None:
        labels = {"dgxspark.vllm.service": "vllm", "dgxspark.vllm.release": RELEASE, "dgxspark.vllm.profile": "latency"}
        entry = {
            "Id": "0123456789ab" * 5,
            "Name": "/vllm-x",
            "Image": "sha256:" + "b" * 64,
            "State": {"Status": "running", "StartedAt": "2026-11-28T09:00:00Z"},
            "Config": {"Image": "vllm:1", "Labels": labels, "Cmd": ["vllm", "serve", MODEL, "--max-num-seqs", "64"]},
            "HostConfig": {"PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}},
            "Mounts": [{"Type": "bind", "Source": f"{self.folder}/vllm/cache"}],
            **changes,
        }
        (self.folder / "inspect.json").write_text(json.dumps([entry]))
        self.program(
            "docker",
            f"""export VLLM_API_KEY={KEY} HTTP_PROXY=http://proxy
case "$1 $2" in
"ps "*) echo vllm-x;;
"inspect "*) cat "{self.folder}/inspect.json";;
"image inspect") echo '["nvcr.io/nvidia/vllm@{DIGEST}"]';;
"exec "*) shift 2; HF_HUB_CACHE="{self.folder}/hub" exec "$@";;
esac""",
        )


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    found = Host(tmp_path, monkeypatch)

    class Mine(Server):
        state: t.ClassVar[dict[str, t.Any]] = {"done": found.done, "tokens": 144, "running": 0, "key": KEY}
        replies: t.ClassVar[dict[str, tuple[int, str]]] = {
            "/version": (200, '{"version":"0.32.0"}'),
            "/v1/models": (200, json.dumps({"data": [{"id": "served", "max_model_len": 4096}]})),
            "/v1/completions": (200, '{"choices":[{"text":" I"}],"usage":{"completion_tokens":1}}'),
        }

    found.state, found.replies = Mine.state, Mine.replies  # type: ignore[attr-defined]
    refs = tmp_path / "hub" / "models--Qwen--Qwen3-8B-FP8" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("c0ffee")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        found.container(httpd.server_port)
        found.port = httpd.server_port  # type: ignore[attr-defined]
        yield found
        httpd.shutdown()


def run(capsys: pytest.CaptureFixture[str], **options: t.Any) -> dict[str, t.Any]:
    arguments = {"cells": [CELL], "repetitions": 1, "settle_seconds": 0, "seed": 7, **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        vllm_benchmark.main()
    found: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    assert not found.get("changed")
    return found


def test_what_a_run_says(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, repetitions=2)
    assert (found["complete"], found["reason"], found["too_long"], found["not_run"]) == (True, None, {}, [])
    assert [(one["repetition"], one["seed"]) for one in found["runs"]] == [(1, 7), (2, 8)]
    first = found["runs"][0]
    assert first["result"]["output_throughput"] == 478.5070627493665
    assert first["server"]["generation_tokens"] == 144  # as the server counts: 8 requests and the test request
    assert first["server"]["others"] is False
    assert [first["server"][f"preemptions{part}"] for part in ("", "_before", "_after")] == [2, 3, 5]
    assert first["gpu_before"]["sm_clock_mhz"] == 2418
    server = found["server"]
    assert (server["model"], server["served_name"], server["revision"]) == (MODEL, "served", "c0ffee")
    assert (server["digest"], server["profile"], server["release"]) == (DIGEST, "latency", RELEASE)
    assert server["options"] == ["--max-num-seqs", "64"]
    returned = yaml.safe_load(vllm_benchmark.RETURN)
    assert set(found) - {"invocation", "changed"} == set(returned)
    assert set(server) == set(returned["server"]["contains"])
    assert set(first) == set(returned["runs"]["contains"])


@pytest.mark.parametrize(
    ("ident", "told"), [("sha256:" + "b" * 64, DIGEST), ("sha256:" + "c" * 64, "sha256:" + "b" * 64)]
)
def test_the_digest_of_an_image_that_was_copied(
    host: Host, capsys: pytest.CaptureFixture[str], ident: str, told: str
) -> None:
    """The release has it, if it is of this image."""
    docker = host.folder / "bin" / "docker"
    docker.write_text(docker.read_text().replace(f'["nvcr.io/nvidia/vllm@{DIGEST}"]', "[]"))
    facts = {"id": ident, "digests": [f"nvcr.io/nvidia/vllm@{DIGEST}"]}
    (host.folder / "vllm" / "releases" / RELEASE / "image.json").write_text(json.dumps(facts))
    assert run(capsys)["server"]["digest"] == told


def test_documentation_and_options_say_the_same() -> None:
    documented_options, spec = documented.options(vllm_benchmark), vllm_benchmark.argument_spec()
    assert list(documented_options) == list(spec)
    for name, option in spec.items():
        assert documented_options[name].get("default") == option.get("default"), name
        assert documented_options[name]["type"] == option["type"], name
    cells = documented_options["cells"]["suboptions"]
    assert {name: option["type"] for name, option in cells.items()} == {
        name: option["type"] for name, option in spec["cells"]["options"].items()
    }


def test_the_key_reaches_the_client_and_no_argument(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys)
    calls = host.calls.read_text()
    assert f"key={KEY} offline=1 proxy=\n" in calls
    assert KEY not in calls.replace(f"key={KEY}", "")
    assert KEY not in json.dumps(found)


def test_nothing_is_done_to_the_service(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys)
    verbs = {line.split()[1] for line in host.calls.read_text().splitlines() if line.startswith("docker ")}
    assert verbs == {"ps", "inspect", "image", "exec"}


def test_failed_requests_with_exit_code_0(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.client('echo \'{"completed": 0, "total_output_tokens": 0}\'; echo "UserWarning: All requests failed." >&2')
    other = {**CELL, "name": "c8"}
    found = run(capsys, cells=[CELL, other], repetitions=3)
    assert found["complete"] is False
    assert found["reason"] == "c4: 0 of 8 requests succeeded: UserWarning: All requests failed."
    assert len(found["runs"]) == 1
    assert found["not_run"] == ["c8"]


def test_a_client_that_hangs_is_ended_in_the_container(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_benchmark, "LEAST_SECONDS", 1)
    host.client(f'echo $$ >"{host.folder}/pid"; exec sleep 100')
    found = run(capsys, timeout=8)
    assert found["reason"].startswith("c4: `vllm bench serve` did not end within ")
    pid = (host.folder / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}").exists()


def test_the_gpu_under_load(host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The client ends once the GPU was looked at while it ran: before and after it is idle."""
    monkeypatch.setattr(bench_run, "LOOK_SECONDS", 0.05)
    meanwhile = f"while [ $(grep -c ^nvidia-smi '{host.calls}') -lt 5 ]; do sleep 0.02; done"
    host.client(f"{meanwhile}; cat '{FIXTURES}/0.32/bench_serve.json'")
    host.program("nvidia-smi", "echo 'NVIDIA GB10, 580.142, 97, 81, 29.5, 612'")
    during = run(capsys)["runs"][0]["gpu_during"]
    assert during["samples"] >= 2
    assert (during["sm_clock_mhz"], during["temperature_c"], during["throttled"]) == (612, 81, True)


def test_a_server_that_ends_meanwhile(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    path = host.folder / "inspect.json"
    host.client(f'sed -i s/09:00:00Z/09:30:00Z/ "{path}"; cat "{FIXTURES}/0.32/bench_serve.json"')
    assert run(capsys)["reason"] == "c4: the server ended during the run; playbooks/health.yml names the cause"


def test_others_that_use_the_server(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.state["tokens"] = 1000  # type: ignore[attr-defined]
    host.state["running"] = 2  # type: ignore[attr-defined]
    one = run(capsys, cool_celsius=70)["runs"][0]
    assert one["server"]["others"] is True
    settled = one["settled"]
    assert (settled["idle"], settled["cool"], settled["requests"], settled["temperature_c"]) == (False, False, 2, 71)


def test_a_cell_that_does_not_fit_is_skipped(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    long = {**CELL, "name": "long", "prefix_tokens": 8192}
    found = run(capsys, cells=[long, CELL])
    assert found["too_long"] == {"long": "needs 8240 tokens, the model is served with 4096"}
    assert found["complete"] is True
    assert len(found["runs"]) == 1


def test_check_mode_measures_nothing(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, _ansible_check_mode=True)
    assert (found["runs"], found["not_run"], found["server"]["model"]) == ([], ["c4"], MODEL)
    assert "vllm bench" not in host.calls.read_text()


def refused(host: Host, capsys: pytest.CaptureFixture[str], **options: t.Any) -> str:
    found = run(capsys, **options)
    assert found["failed"]
    assert not host.done.exists()
    message: str = found["msg"]
    assert "\n" not in message
    return message


def test_no_container_of_the_service(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.program("docker", "exit 0")
    assert refused(host, capsys).startswith("service vllm does not run on this host; deploy it")


def test_somebody_elses_container_gets_no_key(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the label, and no unit and release of ours."""
    (host.folder / "units" / "vllm.service").unlink()
    assert refused(host, capsys).startswith("service vllm does not run on this host")


def test_docker_is_down(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert refused(host, capsys) == "docker does not answer: Cannot connect to the Docker daemon"


def test_a_server_that_loads(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.container(9)
    assert refused(host, capsys) == "vllm-x does not serve: /v1/models: refused; playbooks/health.yml names the cause"


def test_a_model_without_completions(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.replies["/v1/completions"] = (404, '{"detail": "Not Found"}')  # type: ignore[attr-defined]
    assert refused(host, capsys).startswith("vllm-x generates no text: /v1/completions: HTTP 404")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"cells": []}, "cells: is empty; name at least one cell"),
        ({"cells": [CELL, CELL]}, "cells: c4 is there twice; give each cell a name of its own"),
        ({"cells": [{**CELL, "prompts": 1}]}, "cells: prompts of c4 is 1; use its concurrency (4) or more"),
        ({"repetitions": 0}, "repetitions: 0 is not allowed; use 1 or more"),
        ({"timeout": 5}, "timeout: 5 is not allowed; use 30 or more"),
    ],
)
def test_bad_options(host: Host, capsys: pytest.CaptureFixture[str], options: dict[str, t.Any], line: str) -> None:
    assert refused(host, capsys, **options) == line
    assert not host.calls.exists()
