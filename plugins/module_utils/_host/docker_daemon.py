# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker daemon of a host: its file, whether it has read it, its restart. For the module daemon_json."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
import typing as t
from dataclasses import asdict, dataclass, field

from .._outside.values import mapping
from . import daemon_json

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

UNIT = "docker.service"
# Docker looks for it when it starts, and then offers the GPU as driver `nvidia`.
HOOK = "nvidia-container-runtime-hook"
PID_FILE = "/run/docker.pid"
RELOAD_SECONDS = 10

Container = dict[str, str]  # id, name, and the service of this collection that it belongs to


class Failed(Exception):
    """The message is for the user."""


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _boot() -> str:
    return (_read("/proc/sys/kernel/random/boot_id") or "").strip()


def previous() -> str:
    """Where the file is kept until Docker has read another one, if no one needs it after that."""
    return f"{daemon_json.NOTE}.previous"


@dataclass
class Note:
    """What was written, until Docker runs with it."""

    existed: bool = True  # whether there was a file before
    backup: str | None = None
    written: bool = False
    restart: bool = False
    invocation: str = ""  # the run of Docker that has not read it
    boot: str = field(default_factory=_boot)
    containers: list[Container] = field(default_factory=list)

    @classmethod
    def read(cls) -> Note | None:
        text = _read(daemon_json.NOTE)
        try:
            return None if text is None else cls(**json.loads(text))
        except (TypeError, ValueError):  # cut off: nothing was written to daemon.json yet
            return None

    def write(self) -> None:
        os.makedirs(os.path.dirname(daemon_json.NOTE), mode=0o755, exist_ok=True)
        temporary = f"{daemon_json.NOTE}.new"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, daemon_json.NOTE)

    def remove(self) -> None:
        for path in (daemon_json.NOTE, previous()):
            if os.path.exists(path):
                os.unlink(path)


class File:
    """daemon.json, or what it links to. An existing file keeps its owner and mode."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.path = os.path.realpath(daemon_json.PATH)
        self.text = _read(self.path)

    def backup(self) -> str | None:
        return None if self.text is None else str(self.module.backup_local(self.path))

    def write(self, text: str) -> None:
        if self.path == daemon_json.PATH:
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.module.tmpdir)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if not os.path.exists(self.path):
            os.chmod(temporary, 0o644)
        self.module.atomic_move(temporary, self.path)

    def restore(self, note: Note) -> None:
        previous = _read(note.backup) if note.backup else None
        if previous is not None:
            self.write(previous)
        elif not note.existed and os.path.exists(self.path):
            os.unlink(self.path)


class Daemon:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        shown = self.run("systemctl", "show", "--property=ActiveState,InvocationID", UNIT)[1]
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        self.active = values.get("ActiveState") in ("active", "reloading")
        self.invocation = values.get("InvocationID", "")

    def run(self, program: str, *words: str) -> tuple[bool, str, str]:
        """(succeeded, output, complaint); a program that is missing has failed."""
        command = self.module.get_bin_path(program)
        if command is None:
            return False, "", f"{program} is not installed"
        code, out, err = self.module.run_command([command, *words], environ_update={"LC_ALL": "C", "LANGUAGE": "C"})
        return code == 0, out, err.strip()

    def validate(self, text: str) -> None:
        """Fail with dockerd's complaint. Without dockerd, or before Docker 23, nothing is known."""
        with tempfile.NamedTemporaryFile("w", dir=self.module.tmpdir, encoding="utf-8") as file:
            file.write(text)
            file.flush()
            good, _out, error = self.run("dockerd", "--validate", f"--config-file={file.name}")
        if good or "not installed" in error or "unknown flag" in error:
            return
        reason = re.sub(r"^unable to configure the Docker daemon with file \S+\s+", "", error)
        raise Failed(f"Docker rejects the new {daemon_json.PATH}: {reason}. The file was not changed")

    def needs(self, keys: list[str], after: daemon_json.Facts, note: Note | None, restart: bool) -> str:
        """none, reload or restart: what makes Docker run with the file."""
        missing = set(mapping(after.get("runtimes"))) - self._runtimes() if self.active else set()
        if not (keys or note or missing or restart):
            return "none"
        if (
            restart
            or not self.active
            or not daemon_json.RELOADABLE.issuperset(keys)
            or (note and note.restart)
            or ("nvidia" in missing and self._hook_is_newer())
        ):
            return "restart"
        return "reload"

    def _runtimes(self) -> set[str]:
        _good, out, _error = self.run("docker", "info", "--format", "{{json .Runtimes}}")
        try:
            return set(json.loads(out) or {})
        except (ValueError, TypeError):
            return set()

    def _hook_is_newer(self) -> bool:
        """Whether Docker started without NVIDIA's hook, which it looks for at its start only."""
        hook = self.module.get_bin_path(HOOK)
        try:
            return hook is not None and os.stat(hook).st_ctime > os.stat(PID_FILE).st_mtime
        except OSError:
            return True  # not known

    def running(self) -> list[Container]:
        form = r'{{.ID}}\t{{.Names}}\t{{.Label "dgxspark.vllm.service"}}'
        lines = self.run("docker", "ps", "--no-trunc", "--format", form)[1].splitlines()
        return [dict(zip(("id", "name", "service"), f"{line}\t\t".split("\t"))) for line in lines if line]

    def restart(self) -> str | None:
        """The reason if Docker does not start."""
        # systemd rejects the fourth start within a minute; a deliberate one starts the count again
        self.run("systemctl", "reset-failed", UNIT)
        return None if self.run("systemctl", "restart", UNIT)[0] else self._reason()

    def reload(self) -> str | None:
        """The reason if Docker does not take the file: it only logs it, and would not start with the file again."""
        filters = ("--filter", "type=daemon", "--filter", "event=reload", "--format", "{{.Action}}")
        begin, good = time.monotonic(), False
        while time.monotonic() < begin + RELOAD_SECONDS:
            asked, since = time.monotonic(), time.time()
            good, _out, error = self.run("systemctl", "reload", UNIT)
            if not good:
                return error
            # Docker notes the time: once the clock was set back, only another reload can be found
            while time.time() >= since and time.monotonic() < asked + RELOAD_SECONDS:
                span = (f"--since={since:.6f}", f"--until={time.time():.6f}")
                if "reload" in self.run("docker", "events", *span, *filters)[1]:
                    return None
                time.sleep(0.2)
        return self._reason()

    def start(self) -> None:
        self.run("systemctl", "reset-failed", UNIT, "docker.socket")
        good, _out, error = self.run("systemctl", "start", UNIT)
        if not good:
            raise Failed(f"Docker does not start with its previous {daemon_json.PATH} either: {error}")

    def _reason(self) -> str:
        lines = self.run("journalctl", f"--unit={UNIT}", "--lines=50", "--output=cat", "--no-pager")[1].splitlines()
        told = [line for line in lines if re.search(r"(?i)unable to|failed to|invalid|conflict", line)]
        told = [line for line in told if not re.search(r"systemd|Failed to start", line)]
        return told[-1].strip() if told else "see journalctl -u docker"

    def finish(self, note: Note) -> list[str]:
        """Start what ran before the restart, and forget the note. Docker itself starts those with a restart policy."""
        started = []
        for container in note.containers if note.boot == _boot() else []:
            state = self.run("docker", "inspect", "--format", "{{.State.Running}}", container["id"])
            if state[1].strip() != "false":  # it runs, or Docker has removed it (--rm)
                continue
            good, _out, error = self.run("docker", "start", container["id"])
            if good:
                started.append(container["name"])
            else:
                self.module.warn(f"the container {container['name']} ran before and cannot be started again: {error}")
        note.remove()
        return started
