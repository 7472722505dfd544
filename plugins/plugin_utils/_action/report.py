# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What actions have in common that show the results of other tasks: they need no host, and change nothing."""

from __future__ import annotations

import json
import typing as t

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from .._common import output_file, query
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


class QueriedReport(Report):
    """A report that a query selects from, which is then printed as JSON, and that is written to a file on request."""

    QUERY: t.ClassVar[str]  # name of the variable, for the messages
    ROWS: t.ClassVar[str]  # what of the report the query is applied to
    QUERIED: t.ClassVar[Facts] = {
        "path": {"type": "str", "default": ""},
        "query": {"type": "str", "default": ""},
    }

    def run(self, tmp: str | None = None, task_vars: Facts | None = None) -> Facts:
        result: Facts = ActionBase.run(self, tmp, task_vars)
        _validation, asked = self.validate_argument_spec({**self.OPTIONS, **self.QUERIED})
        asked = plain(asked)
        is_rehearsal = not asked["hosts"]  # before any host is asked
        text, found = self.report(asked)
        expression = query.whole(asked["query"], context.CLIARGS.get("extra_vars") or (), self.QUERY)
        if expression:
            try:
                query.check(expression, self.QUERY)
                rows = found["report"][self.ROWS]
                found["selected"] = None if is_rehearsal else query.apply(expression, rows, self.QUERY)
            except query.QueryError as error:
                return {**result, "failed": True, "msg": str(error)}
            text = json.dumps(found["selected"], indent=2, ensure_ascii=False)
        if not is_rehearsal and not self._task.no_log and is_wanted_on_screen():
            display.display(f"\n{text}\n")
            if expression and found["selected"] is None:  # beside the JSON, which a script may read
                display.display(query.nothing(expression, rows, self.ROWS, self.QUERY), stderr=True)
        if asked["path"]:
            try:
                if is_rehearsal:
                    output_file.check(asked["path"])
                elif not self._task.check_mode:
                    whole = json.dumps(found.get("selected", found["report"]), indent=2) + "\n"
                    output_file.write(asked["path"], whole)
            except OSError as error:
                problem = error.strerror or str(error)
                return {**result, "failed": True, "msg": f"The report cannot be written to {asked['path']}: {problem}"}
        # No change: what is measured anew differs each time, and nothing on a host did.
        return {**result, "changed": False, **found}
