# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain Python values instead of Ansible's lazy containers. Pure."""

from __future__ import annotations

import typing as t


def plain(value: t.Any) -> t.Any:
    """Plain containers instead of Ansible's lazy ones, which are templated while one looks at them."""
    if isinstance(value, t.Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
