# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules that change nothing."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode. The result is the same as without it.
    support: full
  diff_mode:
    description: There is no diff, because nothing changes.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
"""

    # Modules that change the host.
    CHANGES = r"""
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  idempotent:
    description: A second run changes nothing.
    support: full
"""
