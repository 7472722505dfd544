# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that has imported Ansible, and forks for each run of ansible-playbook: the imports take 0.6 s otherwise.

Ansible reads its settings when it is imported, so that a server serves runs of one configuration and one set of
ANSIBLE_ variables. All else is the run's own: arguments, folder, other variables, output, session, exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import traceback
import typing as t
import warnings
from pathlib import Path

if t.TYPE_CHECKING:
    from support.compiled import Compiled

WIDTH = 12  # of a number in an answer
SERVERS = 4
# Variables that Ansible and Python read when they start.
READ_AT_START = re.compile("ANSIBLE_|PYTHON|LC_|(HOME|LANG|LANGUAGE|NO_COLOR|TZ)$")


class ForkedRun:
    """A run, with what the tests use of a process."""

    def __init__(self, connection: socket.socket, stdout: t.TextIO) -> None:
        self._connection = connection
        self.stdout = stdout
        self.pid = self._number()

    def _number(self) -> int:
        return int(self._connection.recv(WIDTH, socket.MSG_WAITALL))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, as subprocess has it. To be called once."""
        self.stdout.close()
        return self._number()


class PlaybookServer:
    """It ends with the process that made it. One run at a time."""

    def __init__(self, environment: t.Mapping[str, str]) -> None:
        self._connection, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(  # -P: modules of this folder are none of Ansible's
                [sys.executable, "-P", __file__, str(its.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # Ansible takes color and width from it, when it is imported
                pass_fds=[its.fileno()],
                start_new_session=True,
            )

    def close(self) -> None:
        self._connection.close()
        self._process.wait()

    def run(self, command: t.Sequence[str | Path], folder: Path, environment: t.Mapping[str, str]) -> ForkedRun:
        request = json.dumps([[str(word) for word in command], str(folder), dict(environment)]).encode()
        shown, its = os.pipe()
        socket.send_fds(self._connection, [len(request).to_bytes(4, "big")], [its])
        os.close(its)
        self._connection.sendall(request)
        return ForkedRun(self._connection, open(shown, encoding="utf-8"))


class PlaybookServers:
    """One for each set of settings; of those, the last few."""

    def __init__(self) -> None:
        self._servers: dict[frozenset[tuple[str, str]], PlaybookServer] = {}

    def run(self, command: t.Sequence[str | Path], folder: Path, environment: t.Mapping[str, str]) -> ForkedRun:
        settings = frozenset(item for item in environment.items() if READ_AT_START.match(item[0]))
        server = self._servers.pop(settings, None) or PlaybookServer(environment)
        self._servers[settings] = server
        if len(self._servers) > SERVERS:
            self._servers.pop(next(iter(self._servers))).close()
        return server.run(command, folder, environment)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


def _run(command: list[str], folder: str, environment: dict[str, str], stdout: int, compiled: Compiled) -> t.NoReturn:
    """Be ansible-playbook."""
    from ansible import constants
    from ansible.cli.playbook import main

    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stdout, 1)
    os.dup2(stdout, 2)
    os.close(stdout)
    sys.argv = command
    # The folder of the server, which every run would remove at its end.
    atexit._clear()
    constants.DEFAULT_LOCAL_TMP = constants.config.get_config_value("DEFAULT_LOCAL_TMP", variables=vars(constants))
    code = 1
    try:
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        compiled.leave()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _load_ansible() -> Compiled:
    """What every run would: programs, plugins, and what those say of themselves, but nothing of a collection's."""
    import ansible.cli.playbook  # noqa: F401 (for the forks)
    from ansible.module_utils._internal import _datatag
    from ansible.plugins import loader

    loader.init_plugin_loader()
    importlib.import_module("ansible_collections.ansible.builtin")
    # They cannot change. A deep copy of what was read from files, and of variables, made each of them anew.
    for kind in (_datatag._AnsibleTaggedStr, _datatag._AnsibleTaggedInt, _datatag._AnsibleTaggedFloat):
        kind.__deepcopy__ = lambda self, _memo: self
    # Not those of vars: loaded before an inventory is known, they give a later run no host_vars.
    for kind in ("action", "become", "callback", "connection", "inventory", "lookup", "shell", "strategy"):
        list(getattr(loader, f"{kind}_loader").all(class_only=True))
    for plugins in (loader.filter_loader, loader.test_loader):
        list(plugins.all())
        plugins.get = functools.cache(plugins.get)  # each task looks for those of collections again, file by file
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
    compiled = runpy.run_path(str(Path(__file__).with_name("compiled.py")))["Compiled"]
    return t.cast("Compiled", compiled())


def _serve(connection: socket.socket) -> None:
    compiled = _load_ansible()
    gc.freeze()
    while True:
        head, files, _flags, _address = socket.recv_fds(connection, 4, 1)
        if not head:
            return
        request = json.loads(connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
        compiled.take_in()
        pid = os.fork()
        if pid == 0:
            connection.close()
            _run(*request, *files, compiled)
        os.close(*files)
        connection.sendall(f"{pid:{WIDTH}}".encode())
        connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):{WIDTH}}".encode())


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
