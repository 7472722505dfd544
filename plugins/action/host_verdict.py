# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends the play for a host, on the controller. The documentation stands in plugins/modules/host_verdict.py."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {"msg": {"type": "str", "required": True}, "unreachable": {"type": "bool", "default": False}}
        )
        outcome = "unreachable" if args["unreachable"] else "failed"
        return {**result, "changed": False, outcome: True, "msg": args["msg"], "is_shown": True}
