# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a host_record is about, and puts it back: files, kernel parameters, units, packages."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from .._host import configuration, daemon_json, docker_daemon, services
from .._host.docker_daemon import Daemon, File, Note, previous
from .._outside.text import plain
from . import host_record
from .releases import names_in, replace

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# No file that a role changes is longer.
LONGEST = 1024 * 1024
_DOCKER = {"docker.io", "docker-ce"}
_FIGURES = "/var/lib/prometheus"
# Their services have their names. The roles that have set them up stop them when they are removed.
_SERVERS = {"haproxy", "keepalived", "prometheus", "prometheus-alertmanager", "prometheus-node-exporter"}
# The unit that reads a file when it starts, and is not told otherwise. Docker is: by the module daemon_json.
_READ_BY = {"/etc/default/earlyoom": "earlyoom.service"}


class Failed(Exception):
    """The message is for the user."""


def installed_services() -> list[str]:
    """The services of this collection that are on the host."""
    names = [name.removesuffix(".service") for name in names_in(services.UNITS) if name.endswith(".service")]
    return sorted(name for name in names if services.home_of(name))


class Host:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def read(self, names: t.Mapping[str, t.Iterable[str]]) -> host_record.State:
        units, packages = (list(names.get(section) or ()) for section in ("units", "packages"))
        return {
            "files": {path: self.file(path) for path in names.get("files") or ()},
            "sysctl": {name: configuration.read_sysctl(name) for name in names.get("sysctl") or ()},
            "units": self.units(units) if units else {},
            "packages": self.packages(packages) if packages else {},
        }

    def file(self, path: str) -> host_record.Value:
        """None if it is not there. What is no file is none of ours: whoever wants to write it fails."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return "no file"
        with open(descriptor, "rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise Failed(f"{path} is longer than 1 MiB; nothing was changed")
        return host_record.file_value(content, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)

    def run(self, program: str, *words: str) -> tuple[int, str, str]:
        command = self.module.get_bin_path(program)
        if command is None:
            return 127, "", f"{program} is not installed"
        environment = {"LC_ALL": "C", "LANGUAGE": "C", "DEBIAN_FRONTEND": "noninteractive"}
        code, out, error = self.module.run_command([command, *words], environ_update=environment)
        return code, out, error.strip()

    def units(self, names: list[str]) -> dict[str, host_record.Value]:
        if not names:  # systemctl would show the manager
            return {}
        shown = self.run("systemctl", "show", f"--property={','.join(configuration.UNIT_PROPERTIES)}", "--", *names)[1]
        found = configuration.parse_units(shown, names)
        states = {name: (unit["active_state"], unit["unit_file_state"]) for name, unit in found.items()}
        return {
            name: {"active": active in ("active", "activating"), "enabled": enabled == "enabled"}
            for name, (active, enabled) in ((name, states.get(name, ("", ""))) for name in names)
        }

    def packages(self, names: list[str]) -> dict[str, host_record.Value]:
        out = self.run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", "--", *names)[1]
        there = {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}
        return {name: True if name in there else None for name in names}

    def put_back(self, section: str, name: str, value: host_record.Value) -> None:
        {"files": self._put_file, "sysctl": self._put_sysctl, "units": self._put_unit}[section](name, value)

    def _put_file(self, path: str, value: host_record.Value) -> None:
        if path == os.path.realpath(daemon_json.PATH):
            self._announce(value)
        if value is None:
            os.unlink(path)
        else:
            replace(path, lambda new: _write_as_before(new, value))
        if path in _READ_BY:
            self.run("systemctl", "try-restart", "--", _READ_BY[path])

    def docker_does(self, path: str, value: host_record.Value) -> str:
        """What Docker does for a file that is to become VALUE; "" if it is not its own, or nothing is to be done."""
        note = self._reading(value) if path == os.path.realpath(daemon_json.PATH) else None
        if note is None:
            return ""
        names = ", ".join(sorted(one["name"] for one in note.containers))
        done = "Docker is restarted" if note.restart else "Docker reloads it"
        return f"{done}, which interrupts {names}" if names else done

    def docker_rejects(self, path: str, value: host_record.Value) -> str | None:
        """Why Docker could not start with a daemon.json that is to become VALUE; None for any other file."""
        if path != os.path.realpath(daemon_json.PATH) or value is None:
            return None
        try:
            Daemon(self.module).validate(host_record.content_of(value).decode("utf-8", "surrogateescape"))
        except docker_daemon.Failed as failed:
            return str(failed)
        return None

    def _reading(self, value: host_record.Value) -> Note | None:
        """The note for the module daemon_json; None if Docker has nothing to read."""
        file, daemon = File(self.module), Daemon(self.module)
        text = "" if value is None else host_record.content_of(value).decode("utf-8", "surrogateescape")
        now, then = (daemon_json.parse(one)[0] or {} for one in (file.text, text))
        apply = daemon.needs(daemon_json.changed_keys(now, then), then, None, False)
        if not daemon.active or apply == "none" or file.text is None:
            return None  # it reads the file when it starts
        others = [one for one in daemon.running() if not one["service"]] if apply == "restart" else []
        return Note(
            backup=previous(),
            written=True,
            restart=apply == "restart",
            invocation=daemon.invocation,
            containers=others,
        )

    def _announce(self, value: host_record.Value) -> None:
        """So that the module daemon_json has Docker read its file, or returns to the one that is there now."""
        note, text = self._reading(value), File(self.module).text
        if note is not None and text is not None:
            replace(previous(), lambda new: _write_private(new, text))
            note.write()

    def _put_sysctl(self, name: str, value: host_record.Value) -> None:
        with open(configuration.sysctl_path(name), "w", encoding="utf-8") as file:
            file.write(f"{value}\n")

    def _put_unit(self, name: str, value: host_record.Value) -> None:
        for key, yes, no in (("enabled", "enable", "disable"), ("active", "start", "stop")):
            code, _out, error = self.run("systemctl", yes if value[key] else no, "--", name)
            if code:
                raise Failed(f"systemctl {yes if value[key] else no} {name}: {error}")

    def remove_packages(self, names: list[str]) -> None:
        if not self.module.check_mode:
            code, out, error = self.run("apt-get", "--yes", "purge", "--", *names)
            if code:
                raise Failed(f"{', '.join(names)} cannot be removed: {(error or out.strip()).splitlines()[-1:]}")

    def servers_in_use(self, names: list[str]) -> dict[str, str]:
        """Packages of servers that still run, or whose data would be removed with them, and why they stay."""
        units = self.units([f"{name}.service" for name in sorted(_SERVERS & set(names))])
        running = [name.removesuffix(".service") for name, unit in units.items() if unit["active"]]
        used = dict.fromkeys(running, "it still runs; remove gateway or monitoring first (docs/guides/uninstall.md)")
        if "prometheus" in names and os.path.isdir(_FIGURES) and os.listdir(_FIGURES):
            used.setdefault("prometheus", f"the figures that it has recorded are in {_FIGURES}; remove them first")
        return used

    def why_kept(self, names: list[str]) -> str | None:
        """Why these packages are not removed; None if no one else needs them."""
        if _DOCKER & set(names):
            code, out, error = self.run("docker", "ps", "--all", "--quiet")
            if code not in (0, 127):  # 127: there is no client, and nothing that it could have started
                return f"Docker does not say which containers it has: {plain(error.splitlines()[0]) if error else code}"
            if containers := out.split():
                return f"Docker has {len(containers)} containers; remove them first"
        code, out, error = self.run("apt-get", "--simulate", "purge", "--", *names)
        if code:
            return f"apt-get cannot remove it: {error.splitlines()[-1] if error else 'see apt-get purge'}"
        others = sorted(set(re.findall(r"^(?:Purg|Remv) (\S+)", out, re.MULTILINE)) - set(names))
        return f"{', '.join(others)} would be removed with it" if others else None


def _write_as_before(path: str, value: host_record.Value) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchown(descriptor, value["uid"], value["gid"])
        os.fchmod(descriptor, int(value["mode"], 8))
        file.write(host_record.content_of(value))
        file.flush()
        os.fsync(descriptor)


def _write_private(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
