# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules that work on a Hugging Face cache have in common."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - Absolute path of the cache. The tree in it, the one in C(hub) below it, and plain folders that were the target
        of a download (C(.cache/huggingface/download), at most two levels down) are looked at.
      - A symbolic link, a file, the root directory and folders of the system are refused.
    type: path
    default: /opt/hf
notes:
  - Run it as root. Otherwise the open files of others cannot be seen, and whether a partial is live stays V(null).
  - Nothing outside of O(path) is touched, whatever links lead there. A link that leads out is named.
  - Names are shown on one line. A control character, or a byte that is no text, is shown as C(\xNN).
"""
