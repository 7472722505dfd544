# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ansible-playbook` as a user does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.paths import BIN, ROOT
from support.playbook_server import PlaybookServers

# Variables that hold secrets. No run may show what is in them.
SECRETS = ("vllm_api_key", "vllm_hf_token", "monitoring_webhook", "gateway_keys")
# The variables of a host that is this machine.
THIS_MACHINE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# Those of a host that cannot be reached.
UNREACHABLE: dict[str, Any] = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,  # nobody listens there
    "ansible_ssh_common_args": "-F /dev/null -o BatchMode=yes",
}


def secrets_of(variables: Mapping[str, Any], arguments: Iterable[str | Path], folder: Path = ROOT) -> set[str]:
    """The secrets among extra variables: of keywords, and of plain files that the arguments name, in the folder."""
    files = [folder / str(argument).partition("@")[2] for argument in arguments if "@" in str(argument)]
    texts = [file.read_text("utf-8") for file in files if file.is_file()]
    given = [variables, *(yaml.safe_load(text) for text in texts if "!vault" not in text)]
    values = [each.get(name) for each in given if isinstance(each, Mapping) for name in SECRETS]
    found = {key["key"] for value in values if isinstance(value, list) for key in value if "key" in key}
    found |= {value for value in values if isinstance(value, str) and "{{" not in value}
    return {secret.strip() for secret in found if len(secret.strip()) >= 8}


@dataclass
class Run:
    """A run of ansible-playbook: exit code, and standard output and standard error in the order of the terminal."""

    code: int
    output: str
    lines: list[tuple[float, str]] = field(default_factory=list)  # with the time at which each was shown

    @property
    def words(self) -> str:
        """The output on one line: Ansible wraps long messages at the width of the terminal."""
        return " ".join(self.output.split())

    def count(self, host: str, what: str) -> int:
        """A number of the recap, for example count("spark01", "changed")."""
        recap = re.search(rf"^{host} +: .*?\b{what}=(\d+)", self.output, re.MULTILINE)
        assert recap, f"{host} is not in the recap:\n{self.output}"
        return int(recap[1])

    def json(self) -> dict[str, Any]:
        """What the callback ansible.posix.json printed; warnings may stand around it."""
        begin = re.search(r"^\{$", self.output, re.MULTILINE)
        assert begin, self.output
        found: dict[str, Any] = json.JSONDecoder().raw_decode(self.output, begin.start())[0]
        return found


def _start(command: list[str | Path], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches all processes of a terminal, and not these tests
    )


@dataclass
class AnsiblePlaybook:
    """`ansible-playbook` with the settings of a user, in a folder, with an inventory and environment of its own.

    Settings of Ansible that the environment of the tests has are left out: Molecule sets some.
    """

    inventory: str | Path | None = None
    folder: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)
    config: str | Path = ROOT / "ansible.cfg"
    servers: PlaybookServers | None = None  # that run it, unless start() does

    def _prepared(
        self,
        playbook: str | Path,
        *arguments: str | Path,
        inventory: str | Path | None = None,
        folder: Path | None = None,
        config: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
        **variables: Any,
    ) -> tuple[list[str | Path], Path, dict[str, str]]:
        """Command, folder and environment. Keyword arguments that are not listed here become extra variables."""
        inventory = inventory or self.inventory
        command = [BIN / "ansible-playbook", *(["--inventory", inventory] if inventory else []), *arguments]
        command += ["--extra-vars", json.dumps(variables)] if variables else []
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        settings = {
            "ANSIBLE_CONFIG": str(config or self.config),
            "ANSIBLE_STDOUT_CALLBACK": "default",  # tests wait for names of tasks, which that of users hides
            **self.environment,
            **(environment or {}),
        }
        return [*command, playbook], folder or self.folder, {**inherited, **settings}

    def start(self, playbook: str | Path, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start it and return the process; options: see _prepared()."""
        return _start(*self._prepared(playbook, *arguments, **options))

    def __call__(
        self,
        playbook: str | Path,
        *arguments: str | Path,
        timeout: float = 900,
        on_line: Callable[[str], None] | None = None,
        interrupt: str = "",
        **options: Any,
    ) -> Run:
        """Run it to its end, with the options and variables of _prepared(). on_line sees each line as it is shown.

        A line that contains INTERRUPT is answered with Ctrl-C. ansible-core may hang then: it is killed after 5 s. Or
        it goes on, as Python loses a signal that comes while it forks: then Ctrl-C is pressed again.
        """
        prepared = self._prepared(playbook, *arguments, **options)
        process = self.servers.run(*prepared) if self.servers else _start(*prepared)
        lines: list[tuple[float, str]] = []
        late = threading.Timer(timeout, process.kill)
        late.start()
        hangs: threading.Timer | None = None
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append((time.time(), line.rstrip("\n")))
                if on_line:
                    on_line(line)
                if interrupt and ("TASK [" if hangs else interrupt) in line:
                    os.killpg(process.pid, signal.SIGINT)
                    if hangs is None:
                        hangs = threading.Timer(5, process.kill)
                        hangs.daemon = True
                        hangs.start()
        except BaseException:
            process.kill()
            raise
        finally:
            code = process.wait()
            in_time = late.is_alive()
            late.cancel()
        output = "".join(f"{line}\n" for _when, line in lines)
        given = secrets_of(options, arguments, Path(options.get("folder") or self.folder))
        shown = [secret for secret in given if secret in output]
        assert not shown, f"{playbook} shows {len(shown)} of the secrets that it was given"
        assert in_time, f"{playbook} did not end within {timeout} s:\n{output}"
        return Run(code, output, lines)
