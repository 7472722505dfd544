# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator sees of a fleet that starts: real ansible-playbook, stand-ins for Docker and the servers."""

from __future__ import annotations

import http.server
import json
import os
import re
import sys
import threading
import typing as t

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook, Run

LOG = (ROOT / "tests/fixtures/vllm/0.10.1.1/startup.log").read_text().splitlines()
HOSTS = [f"spark{number:02}" for number in range(1, 17)]
BROKEN = "spark07"
LOOKS = 2  # so often a server is asked before it is ready

# A container whose log grows with each look; the log of BROKEN ends with a failure.
DOCKER = """#!{python}
import json, pathlib, sys, time
name, folder = sys.argv[-1], pathlib.Path({folder!r})
if sys.argv[1] == "inspect":
    state = dict(Status="running", ExitCode=0, StartedAt="2026-11-23T09:00:00Z", FinishedAt="0001-01-01T00:00:00Z")
    print(json.dumps([dict(Id=name, Name=name, State=state, Config=dict(Image="vllm:1"))]))
elif "--timestamps" in sys.argv:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "the last line")
else:
    count = folder / f"looks-{{name}}"
    looks = int(count.read_text()) if count.exists() else 0
    count.write_text(str(looks + 1))
    lines = (folder / "log").read_text().splitlines()
    print("\\n".join(lines[: 12 * (looks + 1)]))
    if name == {broken!r} and looks:
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB.")
"""


class Servers(http.server.BaseHTTPRequestHandler):
    """All servers of the fleet, by the first part of the path. They answer once they have been asked often enough."""

    asked: t.ClassVar[dict[str, int]] = {}
    lock: t.ClassVar[threading.Lock] = threading.Lock()

    def answer(self) -> None:
        host, path = self.path[1:].split("/", 1)
        with self.lock:
            self.asked[host] = self.asked.get(host, 0) + (path == "health")
            ready = host != BROKEN and self.asked[host] > LOOKS
        if not ready:
            self.close_connection = True
            return
        bodies = {"v1/models": {"data": [{"id": "m", "max_model_len": 32768}]}, "version": {"version": "0.10.1.1"}}
        bodies["v1/completions"] = {"choices": [{"text": "x"}], "usage": {"completion_tokens": 1}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(bodies.get(path, {})).encode())

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


@pytest.fixture(scope="module", name="fleet")
def _fleet(
    tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook
) -> t.Iterator[t.Callable[..., Run]]:
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "log").write_text("\n".join(LOG))
    (folder / "bin").mkdir()
    docker = folder / "bin" / "docker"
    docker.write_text(DOCKER.format(python=sys.executable, folder=str(folder), broken=BROKEN))
    docker.chmod(0o755)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Servers) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        wait = {
            "container": "{{ inventory_hostname }}",
            "url": f"http://127.0.0.1:{httpd.server_port}/{{{{ inventory_hostname }}}}",
            "wait": True,
            "poll_interval": 0.2,
        }
        play = {"hosts": "all", "gather_facts": False, "tasks": [{"dgxspark.vllm.vllm_health": wait}]}
        (folder / "play.yml").write_text(yaml.safe_dump([play]))
        hosts = {"all": {"hosts": dict.fromkeys(HOSTS, {}), "vars": THIS_MACHINE}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))

        def run(*flags: str, **environment: str) -> Run:
            Servers.asked.clear()
            for count in folder.glob("looks-*"):
                count.unlink()
            return ansible_playbook(
                "play.yml",
                *flags,
                inventory="hosts.yml",
                folder=folder,
                environment={
                    "ANSIBLE_CALLBACKS_ENABLED": "modules_in_tasks",  # the hosts speak at once
                    "PATH": f"{folder}/bin:{os.environ['PATH']}",
                    **environment,
                },
            )

        yield run
        httpd.shutdown()


LINE = re.compile(r"(spark\d\d) \| (container|load|compile|kv_cache|capture|server|ready) *\| (.+)")


def test_sixteen_hosts_at_once(fleet: t.Callable[..., Run]) -> None:
    run = fleet("--forks", "16")
    assert run.code != 0
    told = [line for line in run.output.splitlines() if " | " in line and not line.lstrip().startswith(("msg", "Seen"))]
    lines = [LINE.fullmatch(line) for line in told]
    assert all(lines), told  # no line is torn, none is without its host
    found: dict[str, list[str]] = {}
    for line in lines:
        assert line
        found.setdefault(line[1], []).append(line[2])
    assert set(found) == set(HOSTS)
    for host, phases in found.items():
        assert ("ready" in phases) == (host != BROKEN), host
        assert phases[-1] == "ready" or host == BROKEN
    # the failure of one is said once, in one line, and hides nobody
    assert run.output.count(f"fatal: [{BROKEN}]") == 1
    assert f"{BROKEN} on {BROKEN} failed in phase" in " ".join(run.output.split())
    assert len(re.findall(r"^ok: \[spark", run.output, re.MULTILINE)) == len(HOSTS) - 1


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["--check"], {}),
        ([], {"ANSIBLE_DISPLAY_OK_HOSTS": "no"}),
        ([], {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"}),
    ],
)
def test_silent(fleet: t.Callable[..., Run], flags: list[str], environment: dict[str, str]) -> None:
    run = fleet("--limit", "spark01", *flags, **environment)
    assert run.code == 0, run.output
    assert not [line for line in run.output.splitlines() if LINE.fullmatch(line)]
