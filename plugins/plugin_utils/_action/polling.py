# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base of the action plugins that call their module again and again, until what it reports has ended."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.pages import read_more
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen

LOST_CONNECTIONS = 5

display = Display()

State = dict[str, t.Any]


class PollingAction(ActionBase):
    module: t.ClassVar[str]
    # What every result of the module has: one without it was cut off, or is a refusal.
    field: t.ClassVar[str]

    def look(self, task_vars: State, **more: t.Any) -> State:
        """One call of the module, with the arguments of the task and MORE."""
        arguments = {**self._task.args, **more}
        state: State = self._execute_module(module_name=self.module, module_args=arguments, task_vars=task_vars)
        return state

    def look_again(self, task_vars: State, **more: t.Any) -> State:
        """The same through a connection that may break: this takes minutes or hours, and a host under load stalls."""
        attempt = 0
        while True:
            attempt += 1
            try:
                state = self.look(task_vars, **more)
                # a module that was cut off has no answer, and one that refuses its options has no traceback
                if self.field in state or "module_stderr" not in state or attempt == LOST_CONNECTIONS:
                    return state
                display.vvv(f"{self.module}: no result, trying again: {state.get('msg')}")
            except AnsibleConnectionFailure as error:
                if attempt == LOST_CONNECTIONS:
                    raise
                display.vvv(f"{self.module}: connection lost, trying again: {error}")
                self._reset_connection()
            time.sleep(min(2.0**attempt, 20))

    def show(self, lines: t.Iterable[str]) -> None:
        if self._task.no_log or not is_wanted_on_screen():
            return
        for line in lines:
            display.display(line)

    def _reset_connection(self) -> None:
        try:
            self._connection.reset()
        except Exception as error:  # not every connection can be reset, and a dead one may refuse
            display.vvv(f"{self.module}: cannot reset the connection: {error}")


def column(host: str, task_vars: State) -> str:
    """The host's name, as wide as the longest one of the batch."""
    return host.ljust(max(map(len, [host, *task_vars.get("ansible_play_batch", [])])))


def message(what: str, cause: t.Mapping[str, t.Any] | None) -> str:
    """What failed, what it means, what to do, what shows it, and where to read more: in one line."""
    known = cause or {}
    text = f"{what}: {known.get('meaning')}. Remedy: {known.get('remedy')}."
    if known.get("evidence"):
        text += f" Seen: {known['evidence'].rstrip('.')}."
    if known.get("link"):
        text += f" More: {read_more(known['link'])}."
    return " ".join(text.split())
