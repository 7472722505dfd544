# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a text as it is, on the controller. The documentation stands in plugins/modules/show_text.py."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, Report


class ActionModule(Report):
    OPTIONS: t.ClassVar[dict[str, Facts]] = {"msg": {"type": "str", "required": True}}

    def report(self, asked: Facts) -> tuple[str, Facts]:
        return asked["msg"].strip(), {"msg": asked["msg"]}
