# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox removes and ends only what it can prove to be its own. Docker is a stand-in in PATH."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.paths import SANDBOX

IMAGES = SANDBOX / "images"
DOCKER = """#!/bin/sh
case "$1" in
context) echo "${CONTEXT:-default}" ;;
info) [ -s "$STATE/dockerd.pid" ] && kill -0 "$(cat "$STATE/dockerd.pid")" ;;
esac
"""
DOCKERD = """#!/bin/sh
[ "$1" = --pidfile ] && echo $$ >"$2"
while :; do sleep 0.1; done
"""


class Machine:
    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.state = folder / "state"
        self.started: list[subprocess.Popen[bytes]] = []
        self.program("docker", DOCKER)
        self.program("dockerd", DOCKERD)
        self.program("id", "#!/bin/sh\necho 0\n")
        self.program("systemctl", f'#!/bin/sh\n[ "$1" = show ] && echo run7 || echo "$@" >>{folder}/systemctl\n')

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, script: str, action: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        return subprocess.run(
            [IMAGES / script, action, self.state],
            env={**inherited, "PATH": path, "STATE": str(self.state), **environment},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def dockerd(self) -> int:
        """A process of that name that the sandbox has not started."""
        process = subprocess.Popen([self.bin / "dockerd"])
        self.started.append(process)
        while "dockerd" not in Path(f"/proc/{process.pid}/comm").read_text():
            time.sleep(0.01)
        return process.pid


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.started:
        process.kill()
        process.wait()


def test_an_own_folder_is_made_used_and_removed(machine: Machine) -> None:
    assert [machine.run("state.sh", action).stdout.strip() for action in ("claim", "claim", "remove", "remove")] == [
        "made",
        "kept",
        "removed",
        "",
    ]
    assert not machine.state.exists()


@pytest.mark.parametrize("action", ["claim", "remove"])
def test_a_folder_of_somebody_else_is_refused(machine: Machine, action: str) -> None:
    photo = machine.state / "photos" / "a.jpg"
    photo.parent.mkdir(parents=True)
    photo.touch()
    (machine.state / "id_ed25519.pub").write_text("ssh-ed25519 AAAA me@laptop\n")
    refused = machine.run("state.sh", action)
    assert refused.returncode == 1
    assert "is not the sandbox's" in refused.stderr
    assert photo.exists()


def test_a_sandbox_from_before_the_marker_is_recognized_by_its_key(machine: Machine) -> None:
    machine.state.mkdir()
    (machine.state / "id_ed25519.pub").write_text("ssh-ed25519 AAAA dgxspark-sandbox\n")
    assert machine.run("state.sh", "claim").stdout == "made\n"
    assert machine.run("state.sh", "remove").stdout == "removed\n"


def test_the_folder_that_a_user_names_is_only_the_parent() -> None:
    settings = yaml.safe_load((SANDBOX / "vars.yml").read_text())
    assert "/dgxspark-sandbox'" in settings["sandbox_state"]
    for tasks in (SANDBOX / "tasks").glob("*.yml"):
        assert "state: absent" not in tasks.read_text()


@pytest.mark.parametrize("what", ["pid", "boot", "start"])
def test_a_process_that_only_has_the_pid_is_not_ended(machine: Machine, what: str) -> None:
    pid = machine.dockerd()
    machine.state.mkdir()
    (machine.state / "dockerd.pid").write_text(f"{pid}\n")
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    note = {"pid": "", "boot": f"{pid} {started} another", "start": f"{pid} {int(started) - 1} {boot}"}[what]
    if note:
        (machine.state / "dockerd.started").write_text(f"{note}\n")
    down = machine.run("engine.sh", "down")
    assert (down.returncode, down.stdout) == (0, "")
    assert machine.started[0].poll() is None


def test_the_engine_that_up_started_is_stopped_by_down(machine: Machine) -> None:
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd starts the engine here")
    assert machine.run("engine.sh", "up").stdout == "started\n"
    assert machine.run("engine.sh", "up").stdout == "running\n"
    assert machine.run("engine.sh", "down").stdout == "stopped\n"
    assert machine.run("engine.sh", "down").stdout == ""


def test_down_stops_what_a_purge_woke(machine: Machine, tmp_path: Path) -> None:
    machine.state.mkdir()
    (machine.state / "docker.woken").write_text("run7\n")
    assert machine.run("engine.sh", "down").stdout == "stopped\n"
    assert (tmp_path / "systemctl").read_text() == "stop docker.socket docker.service\n"


@pytest.mark.parametrize("note", ["", "run6\n"])
def test_an_engine_that_its_owner_started_since_runs_on(machine: Machine, tmp_path: Path, note: str) -> None:
    """A purge was interrupted, and left its note."""
    machine.state.mkdir()
    (machine.state / "docker.woken").write_text(note)
    assert machine.run("engine.sh", "down").stdout == ""
    assert not (tmp_path / "systemctl").exists()
    assert not (machine.state / "docker.woken").exists()


@pytest.mark.parametrize("action", ["local", "up", "wake"])
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DOCKER_HOST": "ssh://me@far"}, "DOCKER_HOST is ssh://me@far; the sandbox runs on this machine only"),
        ({"DOCKER_HOST": "tcp://10.0.0.1:2376"}, "unset DOCKER_HOST"),
        ({"CONTEXT": "far"}, "the docker command uses the context far"),
    ],
)
def test_an_engine_of_another_machine_is_refused(
    machine: Machine, environment: dict[str, str], message: str, action: str
) -> None:
    refused = machine.run("engine.sh", action, **environment)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_own_engine_is_accepted(machine: Machine) -> None:
    assert machine.run("engine.sh", "local").returncode == 0
    assert machine.run("engine.sh", "local", DOCKER_HOST="unix:///run/docker.sock").returncode == 0


THAW_DOCKER = """#!/bin/sh
case "$1 $2" in
"container inspect") [ "$5" = dgxspark-spark01 ] && echo 0123456789ab ;;
"unpause "*) echo "$@" >>"$CALLS" ;;
"exec "*) exit 1 ;;  # the first process of the container is gone
esac
"""


def test_what_is_frozen_below_a_container_is_woken(tmp_path: Path) -> None:
    """And nothing beside it. Control groups v1 with the names of Docker's own driver, v2 with those of systemd's."""
    frozen = {
        "freezer/docker/0123456789ab/freezer.state": "THAWED",
        "freezer/docker/0123456789ab/docker/inner/freezer.state": "FROZEN",
        "freezer/docker/0123456789ab/docker/inner/deeper/freezer.state": "FREEZING",
        "freezer/docker/ffffffffffff/freezer.state": "FROZEN",
        "system.slice/docker-0123456789ab.scope/docker/inner/cgroup.freeze": "1",
        "system.slice/docker-0123456789ab.scope/cgroup.freeze": "0",
        "system.slice/docker-ffffffffffff.scope/cgroup.freeze": "1",
    }
    for name, state in frozen.items():
        (tmp_path / "cgroups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroups" / name).write_text(f"{state}\n")
    machine = Machine(tmp_path)
    machine.program("docker", THAW_DOCKER)

    def run(container: str) -> list[str]:
        path = f"{machine.bin}:/usr/bin:/bin"
        done = subprocess.run(
            [IMAGES / "thaw.sh", container, tmp_path / "cgroups"],
            env={"PATH": path, "CALLS": str(tmp_path / "calls")},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return sorted(done.stdout.replace(f"{tmp_path}/cgroups/", "").split())

    assert run("another") == []
    assert run("dgxspark-spark01") == [
        "freezer/docker/0123456789ab/docker/inner",
        "freezer/docker/0123456789ab/docker/inner/deeper",
        "system.slice/docker-0123456789ab.scope/docker/inner",
    ]
    assert (tmp_path / "calls").read_text() == "unpause dgxspark-spark01\n"
    left = {name: (tmp_path / "cgroups" / name).read_text().strip() for name in frozen}
    changed = {name: state for name, state in left.items() if state != frozen[name]}
    assert changed == {
        "freezer/docker/0123456789ab/docker/inner/freezer.state": "THAWED",
        "freezer/docker/0123456789ab/docker/inner/deeper/freezer.state": "THAWED",
        "system.slice/docker-0123456789ab.scope/docker/inner/cgroup.freeze": "0",
    }
    assert run("dgxspark-spark01") == []
