# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of all hosts, as lookups get them from Ansible."""

from __future__ import annotations

import typing as t


class HostVars(dict[str, dict[str, t.Any]]):
    def raw_get(self, host: str) -> dict[str, t.Any]:
        return self[host]
