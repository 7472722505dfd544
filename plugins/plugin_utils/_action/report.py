# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What actions have in common that show the results of other tasks: they need no host, and change nothing."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from .._common.plain import plain
from .._common.screen import is_wanted_on_screen

Facts = dict[str, t.Any]

display = Display()


class Report(ActionBase):
    """OPTIONS are those of the module of the same name, as an argument specification."""

    TRANSFERS_FILES = False
    _requires_connection = False
    OPTIONS: t.ClassVar[t.Mapping[str, Facts]]

    def report(self, asked: Facts) -> tuple[str, Facts]:
        """The text for people, and the result of the task."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: Facts | None = None) -> Facts:
        result: Facts = super().run(tmp, task_vars)
        _validation, asked = self.validate_argument_spec(self.OPTIONS)
        text, found = self.report(plain(asked))
        if not self._task.no_log and is_wanted_on_screen():
            display.display(f"\n{text}\n")
        return {**result, "changed": False, **found}
