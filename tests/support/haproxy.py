# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real HAProxy with the configuration of the role gateway, in front of small engines on this machine."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
import subprocess
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jinja2
import yaml
from ansible.plugins.filter.core import get_hash, to_json
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.gateway import LIMITS, Server, Unit, gateway
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.virtual_address import Member

from support.paths import ROOT
from support.waiting import wait_until

ROLE = ROOT / "roles" / "gateway"
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROLE / "templates"),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
)
TEMPLATES.filters.update(hash=get_hash, to_json=to_json)
ENGINE_KEY = "engine-0123456789abcdef"


def program(name: str) -> str:
    """haproxy or keepalived: that of this machine, or the one that `make unit` has unpacked."""
    found = shutil.which(name, path=f"{ROOT}/.cache/{name}:/usr/sbin") or shutil.which(name)
    assert found, f"{name} is missing; run: tools/unpack.sh {name}, or install the package {name}"
    return found


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Engine:
    """A unit. It answers like vLLM, notes what it was asked, and holds each generation until GO is set."""

    swap_group = ""

    def __init__(self, model: str, name: str) -> None:
        self.model, self.name = model, name
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.go = threading.Event()
        self.go.set()
        self.in_progress = 0
        self.is_dead = False
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: t.Any) -> None:
                pass

            def answer(self, status: int, content: t.Any) -> None:
                body = json.dumps(content, separators=(",", ":")).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                if self.path == "/health":
                    self.answer(200, None)
                elif self.headers.get("Authorization") != f"Bearer {ENGINE_KEY}":
                    self.answer(401, {"error": "Unauthorized"})
                else:
                    self.answer(200, {"object": "list", "data": [{"id": engine.model, "object": "model"}]})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                engine.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                engine.in_progress += 1
                try:
                    if b'"stream":true' in body.replace(b" ", b""):
                        self.stream()
                    else:
                        self.wait_for_go()
                        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
                        self.answer(200, {"unit": engine.name, "model": engine.model, "choices": [choice]})
                finally:
                    engine.in_progress -= 1

            def wait_for_go(self) -> None:
                engine.go.wait(30)
                if engine.is_dead:
                    raise ConnectionAbortedError

            def stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for number in range(3):
                    if number:
                        self.wait_for_go()
                    choice = {"index": 0, "finish_reason": "stop" if number == 2 else None, "delta": {"content": "x"}}
                    self.event(
                        json.dumps({"unit": engine.name, "number": number, "choices": [choice]}, separators=(",", ":"))
                    )
                self.event("[DONE]")
                self.wfile.write(b"0\r\n\r\n")

            def event(self, content: str) -> None:
                event = f"data: {content}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: t.Any, client_address: t.Any) -> None:
                pass  # a client or a test that hung up

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.go.set()
        self.server.shutdown()
        self.server.server_close()

    def freeze(self) -> None:
        """Connections are taken, and no more than that."""
        self.server.shutdown()

    def die(self) -> None:
        """In the middle of each answer."""
        self.is_dead = True
        self.stop()


BODY = {"wait-for-body time 30s": 1}


def write(
    folder: Path,
    engines: t.Sequence[Engine],
    keys: list[dict[str, t.Any]],
    variables: t.Mapping[str, t.Any],
    members: t.Sequence[Member] = (),
    seconds: t.Mapping[str, int] = BODY,
) -> None:
    """The files of the role, with what is different without root, and for those who do not like to wait.

    The gateway is the first of the MEMBERS of its group. SECONDS by setting replace what the role sets.
    """
    values: dict[str, t.Any] = {
        **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
        **yaml.safe_load((ROLE / "vars" / "main.yml").read_text()),
        **variables,
    }
    units = [
        Unit(each.name, "here", each.model, each.port, "127.0.0.1", "digest", "", "", each.swap_group)
        for each in engines
    ]
    limits = {name: values[f"gateway_{name}"] for name in LIMITS}
    found = gateway(Server(members[0].name if members else "gw", "here"), units, keys, limits, members)
    assert found.problems == []
    values.update(
        gateway_keys=keys,
        hostvars={each.name: {"vllm_api_key": ENGINE_KEY} for each in engines},
        __gateway_folder=str(folder),
        __gateway_found=found._asdict(),
    )
    for entry in values["__gateway_maps"]:
        limit = {"__gateway_limit": Path(entry["name"]).stem}
        text = TEMPLATES.get_template(entry["template"]).render({**values, **limit})
        (folder / entry["name"]).write_text(text)
    for name in values["__gateway_switched"]:
        (folder / name).touch()
    text = TEMPLATES.get_template("haproxy.cfg.j2").render(values)
    for setting, number in seconds.items():
        assert f"{setting}\n" in text
        text = text.replace(f"{setting}\n", f"{setting.rpartition(' ')[0]} {number}s\n")
    (folder / "haproxy.cfg").write_text(re.sub(r"^ +(user|group|chroot) .*\n", "", text, flags=re.MULTILINE))


class Gateway:
    """HAProxy as the role sets it up, but it waits so many seconds for a head, for a body, and for a server that it
    checks. KEYS are gateway_keys, VARIABLES other variables of the role."""

    def __init__(
        self,
        folder: Path,
        engines: t.Sequence[Engine],
        keys: list[dict[str, t.Any]],
        head_seconds: int = 10,
        body_seconds: int = 1,
        check_seconds: int = 5,
        **variables: t.Any,
    ) -> None:
        self.folder, self.engines = folder, engines
        self.seconds = {
            "http-request 10s": head_seconds,
            "wait-for-body time 30s": body_seconds,
            "check 5s": check_seconds,
        }
        self.socket, self.master, self.port = str(folder / "socket"), str(folder / "master"), free_port()
        ports = {"gateway_port": self.port, "gateway_stats_port": free_port()}
        self.variables: dict[str, t.Any] = {"gateway_address": "127.0.0.1", **ports, **variables}
        self.write(keys)
        self._log = (folder / "log").open("w+")
        command = [
            program("haproxy"),
            "-W",
            "-S",
            self.master,
            "-f",
            str(folder / "haproxy.cfg"),
            "-p",
            str(folder / "pid"),
        ]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)

    def write(self, keys: list[dict[str, t.Any]]) -> None:
        variables = {**self.variables, "__gateway_socket": self.socket}
        write(self.folder, self.engines, keys, variables, seconds=self.seconds)

    def __enter__(self) -> Gateway:
        wait_until(self._is_up, "HAProxy has looked at every engine", timeout=30, pause=0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            states = self.servers()
        except OSError:
            return False
        return set(states) == {each.name for each in self.engines} and all(state == "UP" for state in states.values())

    def reload(self) -> None:
        """As systemd does."""
        before = self.ask("show info")
        self._process.send_signal(12)  # SIGUSR2
        pid = re.search(r"^Pid: (\d+)", before, re.MULTILINE)
        assert pid
        wait_until(lambda: pid[0] not in self._info(), "another process has taken over", timeout=20, pause=0.05)

    def _info(self) -> str:
        try:
            return self.ask("show info")
        except OSError:
            return str(self._process.pid)

    def ask(self, command: str) -> str:
        """Over the socket of the administrator."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(self.socket)
            connection.sendall(f"{command}\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer.decode()

    def servers(self) -> dict[str, str]:
        """State of each server by name, and UP only after a look."""
        return {row["svname"]: row["status"] if row["check_status"] else "" for row in self._statistics()}

    def in_progress(self) -> int:
        """Requests that count as load of a server. One still does for a moment after its client has the answer."""
        return sum(int(row["scur"]) for row in self._statistics())

    def _statistics(self) -> t.Iterator[dict[str, str]]:
        return csv.DictReader(self.ask("show stat -1 4 -1").splitlines())

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


class Answer(t.NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> t.Any:
        return json.loads(self.body)


def read_answer(connection: socket.socket) -> Answer:
    """One whole answer; status 0 if the other side hangs up without one."""
    with connection.makefile("rb") as file:
        line = file.readline()
        if not line:
            return Answer(0, {}, b"")
        headers = {}
        while (header := file.readline()) not in (b"\r\n", b""):
            name, _colon, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(file.readline() or b"0", 16):
                body += file.read(size)
                file.readline()
            file.readline()
        else:
            body = file.read(int(headers.get("content-length", 0)))
        return Answer(int(line.split()[1]), headers, body)
