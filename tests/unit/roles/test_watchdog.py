# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the watchdog restarts, what it leaves alone, and who gets the key; with a stand-in for vLLM."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import Answer
from ansible_collections.dgxspark.vllm.roles.vllm.files import guard, watchdog
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import Service
from on_the_host import code, installed, lacking

ROOT = Path(__file__).resolve().parents[3]
ONE, BEFORE = "1" * 12, "2" * 12


class Vllm(http.server.BaseHTTPRequestHandler):
    frozen: ClassVar[bool] = False
    tokens: ClassVar[int] = 40
    key: ClassVar[str | None] = None
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._answer(f"vllm:generation_tokens_total {self.tokens}\nvllm:num_requests_running 3\n")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.frozen:
            time.sleep(0.5)
        self._answer('{"choices":[{"text":" I"}],"usage":{"completion_tokens":1}}')

    def _answer(self, text: str) -> None:
        self.asked.append(self.path)
        if self.key and self.headers["Authorization"] != f"Bearer {self.key}":
            self.send_response(401)
            text = ""
        else:
            self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def vllm() -> Iterator[tuple[type[Vllm], int]]:
    class Mine(Vllm):
        asked: ClassVar[list[str]] = []

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the canary does not wait for a frozen server

    httpd = Quiet(("127.0.0.1", 0), Mine)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield Mine, httpd.server_port
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vllm: tuple[type[Vllm], int]) -> Service:
    service = Service(tmp_path / "vllm", "vllm")
    (service.home / "releases" / ONE).mkdir(parents=True)
    service.current.symlink_to(f"releases/{ONE}")
    (tmp_path / "units").mkdir()
    unit = f"# Written by dgxspark.vllm.\nWorkingDirectory={service.home}/current\n"
    (tmp_path / "units" / "vllm.service").write_text(unit)
    monkeypatch.setattr(services, "UNITS", str(tmp_path / "units"))
    parameters(service, url=f"http://127.0.0.1:{vllm[1]}", model="m")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    program(tmp_path, "systemctl", "exit 0")
    runs(service, ONE)
    return service


def runs(service: Service, release: str, others: str = "", **changed: Any) -> None:
    """A container of the service runs, and has the port, unless CHANGED says otherwise. OTHERS are lines of ps."""
    port = str(service.parameters["url"]).rpartition(":")[2]
    container = {"labels": {"dgxspark.vllm.service": "vllm", "dgxspark.vllm.release": release}, "status": "running"}
    container |= {"bindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}}
    container |= {"mounts": [{"Type": "bind", "Source": f"{service.home}/cache"}]} | changed
    inspected = {
        "Id": "aa",
        "Name": "/vllm-x",
        "State": {"Status": container["status"]},
        "Config": {"Labels": container["labels"]},
        "HostConfig": {"PortBindings": container["bindings"]},
        "Mounts": container["mounts"],
    }
    folder = service.home.parent
    (folder / "inspected").write_text(json.dumps([inspected]))
    listed = f'echo "aa {release} {service.home}/cache"; {others or ":"}'
    script = f'if [ "$1" = ps ]; then {listed}; else cat "{folder}/inspected"; fi'
    program(folder, "docker", script)


def parameters(service: Service, **values: Any) -> None:
    (service.current / "release.json").write_text(json.dumps({**service.parameters, **values}))


def freeze(service: Service, vllm: type[Vllm]) -> None:
    vllm.frozen = True
    parameters(service, canary_timeout=0.1)


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder}/calls"\n{script}\n')
    path.chmod(0o755)


def restarts(service: Service) -> int:
    return (service.home.parent / "calls").read_text().count("systemctl --no-block try-restart vllm.service")


def unanswered(service: Service) -> None:
    service.count({"time": 1, "boot": "a"})


def test_an_answer_is_one_request_and_ends_the_count_of_tries(service: Service, vllm: tuple[type[Vllm], int]) -> None:
    unanswered(service)
    watchdog.watch(service, 0.0)
    assert not service.is_unanswered()
    assert vllm[0].asked == ["/v1/completions"]


def test_a_frozen_server_is_restarted_and_the_journal_says_why(
    service: Service, vllm: tuple[type[Vllm], int], capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(service, vllm[0])
    for minute in range(3):
        assert restarts(service) == 0 if minute else True
        watchdog.watch(service, 60.0 * minute)
    assert restarts(service) == 1
    said = capsys.readouterr().out
    assert said.count("<5>no token: timeout") == 3
    assert "<3>frozen: 3 looks without a token" in said


def no_container(service: Service, docker: str = "exit 0") -> None:
    program(service.home.parent, "docker", docker)


def test_a_unit_without_a_container_is_restarted(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """Compose hangs: Restart=always does not help, because the unit is active."""
    no_container(service)
    for now in (1000.0, 1060.0):
        watchdog.watch(service, now)
    assert restarts(service) == 0
    watchdog.watch(service, 1120.0)
    assert restarts(service) == 1
    assert "<3>no container for 120 s, though the unit is active" in capsys.readouterr().out


def test_a_head_that_waits_for_its_ray_cluster_does_not_hang(service: Service) -> None:
    path = service.current / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "closed_ports": [29501, 29600]}))
    ray = f"echo cc {service.release} {service.home}/cache"
    no_container(service, f'case "$*" in *label=dgxspark.vllm.ray=vllm*) {ray};; esac')
    for now in (1000.0, 1060.0, 1120.0):
        watchdog.watch(service, now)
    assert restarts(service) == 0
    no_container(service)  # nor is Ray there
    for now in (2000.0, 2120.0):
        watchdog.watch(service, now)
    assert restarts(service) == 1


@pytest.mark.parametrize(
    "between", ["a container", "a reboot", "another start of the unit", "a Docker that does not answer"]
)
def test_who_was_without_a_container_twice_was_not_for_long(between: str, service: Service) -> None:
    no_container(service)
    watchdog.watch(service, 1000.0, "one")
    if between == "a container":
        runs(service, ONE)
        watchdog.watch(service, 1060.0, "one")
        no_container(service)
    elif between == "a Docker that does not answer":
        no_container(service, "exit 1")
        watchdog.watch(service, 1120.0, "one")
        no_container(service)
    elif between == "another start of the unit":
        program(service.home.parent, "systemctl", "[ $1 != show ] || echo another")
    watchdog.watch(service, 1125.0, "two" if between == "a reboot" else "one")
    assert restarts(service) == 0


def test_an_image_that_is_being_pulled_has_its_time(service: Service) -> None:
    """Compose pulls what someone has removed: a restart would begin anew."""
    no_container(service, '[ "$1" != image ]')
    for now in (1000.0, 2000.0, 3000.0):
        watchdog.watch(service, now)
    assert restarts(service) == 0


def test_a_watchdog_that_is_off_restarts_no_unit_without_a_container(service: Service) -> None:
    unanswered(service)
    no_container(service)
    for now in (0.0, 500.0):
        watchdog.watch(service, now, is_on=False)
    assert restarts(service) == 0


@pytest.mark.parametrize("jump", [-365 * 86400, 365 * 86400])
def test_a_clock_that_jumps_makes_it_forget_no_restart_and_restart_nothing(
    service: Service, vllm: tuple[type[Vllm], int], monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    begin, passed = time.time(), 10_000.0
    monkeypatch.setattr(watchdog.time, "clock_gettime", lambda _clock: passed)

    def look(count: int, is_frozen: bool = True) -> None:
        nonlocal passed
        vllm[0].frozen = is_frozen
        parameters(service, canary_timeout=0.1 if is_frozen else 30)  # a busy machine is slow to answer
        for _number in range(count):
            assert watchdog.main(["watchdog", "vllm", str(service.home)]) == 0
            passed += 60

    def look_until(count: int) -> None:
        """A machine that is very busy may need more looks: what a stand-in does not answer at all is not frozen."""
        for _number in range(30):
            look(1)
            if restarts(service) == count:
                return
        pytest.fail(f"{restarts(service)} restarts, not {count}")

    look_until(watchdog.MOST_RESTARTS)
    look(3)
    assert restarts(service) == watchdog.MOST_RESTARTS
    monkeypatch.setattr(time, "time", lambda: begin + jump)
    look(6)
    assert restarts(service) == watchdog.MOST_RESTARTS
    passed += watchdog.RESTARTS_WITHIN
    look(1, is_frozen=False)
    look_until(watchdog.MOST_RESTARTS + 1)


@pytest.mark.parametrize(
    "body", ["[" * 100_000, "vllm:generation_tokens_total 1e308\n" * 2, "{", "", '{"choices":[7]}']
)
def test_no_answer_blinds_it(service: Service, vllm: tuple[type[Vllm], int], body: str) -> None:
    """What the server says may be anything: it is no token, and the look is over."""

    def answer(self: Vllm, _text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    vllm[0]._answer = answer  # type: ignore[method-assign]
    for minute in range(3):
        watchdog.watch(service, 60.0 * minute)
    assert restarts(service) == 0  # it answers, so it is not frozen
    assert guard.read_json(service.watchdog)["silent"] == 0


def test_a_look_that_hangs_is_ended_by_systemd() -> None:
    """A oneshot has no limit of its own, and the timer waits for its end. It is above the sum of those within."""
    unit = (ROOT / "roles/vllm/templates/watchdog.service.j2").read_text()
    limit = int(unit.split("TimeoutStartSec=")[1].split()[0])
    # is-active, docker ps, docker inspect twice, restart; or is-active, docker ps, image inspect, show, restart
    programs = 5 * (guard.STOP_TIMEOUT + 30)
    assert programs + 2 * watchdog.CANARY_TIMEOUT < limit < 600


def test_what_current_does_not_name_is_not_restarted_into_it(service: Service, vllm: tuple[type[Vllm], int]) -> None:
    """A deployment was broken off before the start: a restart would bring in a release that nobody proves."""
    freeze(service, vllm[0])
    (service.home / "releases" / BEFORE).mkdir()
    (service.home / "releases" / BEFORE / "release.json").touch()
    runs(service, BEFORE)
    for minute in range(9):
        watchdog.watch(service, 60.0 * minute)
    assert (restarts(service), service.watchdog.exists()) == (0, False)
    runs(service, ONE, others=f"echo bb stranger {service.home}/cache")  # what `current` names
    for minute in range(9, 12):
        watchdog.watch(service, 60.0 * minute)
    assert restarts(service) == 1


def test_a_busy_server_whose_metrics_are_slow_is_left_alone(
    service: Service, vllm: tuple[type[Vllm], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def request(url: str, timeout: float, key: str | None) -> Answer:
        waited.append(timeout)
        return Answer(200, f"vllm:generation_tokens_total {len(waited)}\n")

    monkeypatch.setattr(watchdog, "request", request)
    freeze(service, vllm[0])
    for minute in range(4):
        watchdog.watch(service, 60.0 * minute)
    assert waited == [watchdog.CANARY_TIMEOUT] * 4  # as long as a token may take
    assert restarts(service) == 0


def test_a_busy_server_is_left_alone(service: Service, vllm: tuple[type[Vllm], int]) -> None:
    freeze(service, vllm[0])
    for minute in range(8):
        vllm[0].tokens += 1
        watchdog.watch(service, 60.0 * minute)
    assert restarts(service) == 0


def test_a_busy_server_that_asks_for_the_key_on_every_path_is_left_alone(
    service: Service, vllm: tuple[type[Vllm], int]
) -> None:
    (service.current / ".env").write_text("VLLM_API_KEY='s3cret'\n")
    vllm[0].key = "s3cret"
    freeze(service, vllm[0])
    for minute in range(8):
        vllm[0].tokens += 1
        watchdog.watch(service, 60.0 * minute)
    assert restarts(service) == 0


OURS = {"dgxspark.vllm.service": "vllm", "dgxspark.vllm.release": ONE}


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "exited"},
        {"bindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}]}},
        {"bindings": {}},
        {"labels": {}},
        {"labels": {**OURS, "dgxspark.vllm.service": "ssh"}},
        {"labels": {**OURS, "dgxspark.vllm.release": "../../x"}},
        {"labels": {**OURS, "dgxspark.vllm.release": "3" * 12}},
        {"mounts": None},  # labels of an image
        {"mounts": [{"Type": "volume", "Source": "/var/lib/docker/volumes/x/_data", "Destination": "/opt/vllm/cache"}]},
        {"mounts": [{"Type": "bind", "Source": "/srv\0/cache"}, None, {"Type": "bind", "Source": 5}]},
        {"mounts": [{"Type": "bind", "Source": "/srv/caches/1000"}]},
    ],
)
def test_who_else_has_the_port_gets_no_key_and_is_no_answer(
    service: Service, vllm: tuple[type[Vllm], int], changed: dict[str, Any]
) -> None:
    (service.current / ".env").write_text("VLLM_API_KEY='s3cret'\n")
    unanswered(service)
    runs(service, ONE, **changed)
    for minute in range(4):
        watchdog.watch(service, 60.0 * minute)
    assert vllm[0].asked == []
    assert service.is_unanswered()
    assert restarts(service) == 0


@pytest.mark.parametrize("folder", ["cache", "caches/1000"])
def test_a_container_gets_the_key_whoever_its_user_is(
    service: Service, vllm: tuple[type[Vllm], int], folder: str
) -> None:
    (service.current / ".env").write_text("VLLM_API_KEY='s3cret'\n")
    vllm[0].key = "s3cret"
    unanswered(service)
    runs(service, ONE, mounts=[{"Type": "bind", "Source": f"{service.home}/{folder}"}])
    watchdog.watch(service, 0.0)
    assert vllm[0].asked
    assert not service.is_unanswered()


@pytest.mark.parametrize("answer", ["exit 1", "echo '['", "echo '[{\"Config\": 5}]'", "echo aa x y", ":"])
def test_an_odd_answer_of_docker_is_no_container_of_ours(
    service: Service, vllm: tuple[type[Vllm], int], answer: str
) -> None:
    program(service.home.parent, "docker", f'[ "$1" = ps ] && echo "aa {ONE} {service.home}/cache"\n{answer}')
    watchdog.watch(service, 0.0)
    assert vllm[0].asked == []


def test_switched_off_it_only_ends_the_count_of_tries(service: Service, vllm: tuple[type[Vllm], int]) -> None:
    unanswered(service)
    watchdog.watch(service, 0.0, is_on=False)
    assert not service.is_unanswered()
    freeze(service, vllm[0])
    for minute in range(1, 9):
        watchdog.watch(service, 60.0 * minute, is_on=False)
    assert vllm[0].asked == ["/v1/completions"]
    assert not service.watchdog.exists()


def test_a_unit_that_is_down_stays_down(service: Service, vllm: tuple[type[Vllm], int]) -> None:
    program(service.home.parent, "systemctl", "exit 3")
    for minute in range(9):
        watchdog.watch(service, 60.0 * minute)
    assert vllm[0].asked == []
    assert restarts(service) == 0


def test_the_key_is_read_from_the_release_and_said_nowhere(
    service: Service, vllm: tuple[type[Vllm], int], capsys: pytest.CaptureFixture[str]
) -> None:
    vllm[0].key = "sk-notToBePrinted"
    (service.current / ".env").write_text("VLLM_API_KEY='sk-notToBePrinted'\n")
    unanswered(service)
    watchdog.watch(service, 0.0)
    assert not service.is_unanswered()
    (service.current / ".env").write_text("VLLM_API_KEY='sk-notToBePrinted2'\n")
    watchdog.watch(service, 60.0)
    unanswered(service)
    watchdog.watch(service, 120.0)
    assert not service.is_unanswered()  # it refuses, so it was loaded
    assert "no token: HTTP 401" in (said := capsys.readouterr().out)
    assert "notToBePrinted" not in said
    assert "notToBePrinted" not in service.watchdog.read_text()


def test_a_release_of_an_earlier_version_of_the_role_is_left_alone(
    service: Service, vllm: tuple[type[Vllm], int]
) -> None:
    (service.current / "release.json").unlink()
    watchdog.watch(service, 0.0)
    assert vllm[0].asked == []


def test_the_command_line(service: Service) -> None:
    assert watchdog.main(["watchdog", "vllm", str(service.home)]) == 0
    assert watchdog.main(["watchdog", "vllm"]) == 2
    assert watchdog.main(["watchdog", "vllm", str(service.home), "--on"]) == 2
    assert guard.read_json(service.watchdog)["silent"] == 0


def test_on_the_host_it_needs_nothing_of_the_collection(tmp_path: Path) -> None:
    """But what roles/vllm/vars/main.yml lists."""
    files = code("vllm", "__vllm_code")
    assert lacking(files) == set()
    command = installed(files, tmp_path)
    for program, usage in (("watchdog", "SERVICE HOME [--off]"), ("guard", "allow|prepare|stop|forget SERVICE HOME")):
        run = subprocess.run([*command, program], capture_output=True, check=False, text=True, timeout=60)
        assert (run.returncode, run.stderr) == (2, f"usage: {program} {usage}\n")
    (tmp_path / "vllm" / "state").mkdir(parents=True)
    tries = tmp_path / "vllm" / "state" / "tries.json"
    tries.touch()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "systemctl"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin"}
    done = subprocess.run([*command, "guard", "forget", "vllm", tmp_path / "vllm"], check=True, env=environment)
    assert (done.returncode, tries.exists()) == (0, False)


def test_the_units_run_it_as_the_refusal_says() -> None:
    variables = yaml.safe_load((ROOT / "roles" / "vllm" / "vars" / "main.yml").read_text())
    assert variables["__vllm_code_folder"] == f"{guard.CODE}/{{{{ vllm_service_name }}}}"
    assert variables["__vllm_program"] == "/usr/bin/python3 -I -B {{ __vllm_code_folder }}"


def test_the_last_look_is_written_for_the_exporter(service: Service, vllm: tuple[type[Vllm], int]) -> None:
    def last() -> tuple[str, float, list[str]]:
        look = guard.read_json(service.look)
        assert look["boot"] == "b"
        return look["verdict"], look["time"], look["running"]

    watchdog.watch(service, 7.0, "b")
    assert last() == ("answers", 7.0, [ONE])
    freeze(service, vllm[0])
    watchdog.watch(service, 67.0, "b")
    assert last() == ("silent", 67.0, [ONE])
