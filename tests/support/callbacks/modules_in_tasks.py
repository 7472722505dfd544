# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules for this machine in the process that Ansible has for the task.

Python's start and a module's imports take half a second each, most of what a play of many small tasks takes. Arguments,
environment, output and exit code go the way they always do, and the process is afterwards what it was. Only for tests.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import runpy
import signal
import subprocess
import sys
import typing as t
from pathlib import Path
from unittest import mock

from ansible.executor.module_common import _BuiltModule
from ansible.module_utils.testing import patch_module_args
from ansible.plugins import action
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: modules_in_tasks
type: aggregate
short_description: Runs modules without a process of their own
description:
  - Modules for this machine run in the process that Ansible has for the task.
author:
  - The dgxspark.vllm authors (@dgxspark)
"""
MARK = b"in this process"
WARM_PYTHON = Path(__file__).parents[1] / "warm_python.py"

_Popen = runpy.run_path(str(WARM_PYTHON))["Popen"]
_build = action.modify_module
_configure = action.ActionBase._configure_module
_execute = action.ActionBase._low_level_execute_command
_is_local = False
_next: tuple[str, dict[str, t.Any], dict[str, str]] | None = None


def _python_name(path: Path) -> str | None:
    """What a module is imported as."""
    parts = path.with_suffix("").parts
    for package in ("ansible_collections", "ansible"):
        if path.suffix == ".py" and package in parts:
            return ".".join(parts[len(parts) - 1 - parts[::-1].index(package) :])
    return None


def _prepare(self: action.ActionBase, *args: t.Any, **kwargs: t.Any) -> tuple[_BuiltModule, str]:
    global _is_local
    _is_local = self._connection.transport == "local"
    configured: tuple[_BuiltModule, str] = _configure(self, *args, **kwargs)
    return configured


def _ready(**how: t.Any) -> _BuiltModule:
    global _next
    name = _python_name(Path(how["module_path"]))
    is_ours = _is_local and how["task_vars"].get("ansible_python_interpreter") in (None, sys.executable)
    if not name or not is_ours or how["async_timeout"] or how["become_plugin"]:
        built: _BuiltModule = _build(**how)
        return built
    _next = (name, how["module_args"], {key: str(value) for key, value in how["environment"].items()})
    return _BuiltModule(b_module_data=MARK, module_style="new", shebang="#!/", serialization_profile="legacy")


@contextlib.contextmanager
def _process_as_it_was() -> t.Iterator[None]:
    """What a module changes of its process, and would take with it at its end."""
    mask, folder = os.umask(0o077), os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.umask(mask)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        os.umask(mask)
        os.fchdir(folder)
        os.close(folder)
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:  # None: not set by Python
                signal.signal(number, handler)


def _run(self: action.ActionBase, cmd: str, *args: t.Any, **kwargs: t.Any) -> dict[str, t.Any]:
    if kwargs.get("in_data") != MARK:
        executed: dict[str, t.Any] = _execute(self, cmd, *args, **kwargs)
        return executed
    assert _next
    name, module_args, environment = _next
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with (
        _process_as_it_was(),
        patch_module_args(module_args),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(subprocess, "Popen", _Popen),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            importlib.import_module(name).main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return {"rc": code, "stdout": out.getvalue(), "stderr": errors.getvalue()}


action.modify_module = _ready
action.ActionBase._configure_module = _prepare
action.ActionBase._low_level_execute_command = _run


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "modules_in_tasks"
    CALLBACK_NEEDS_ENABLED = True
