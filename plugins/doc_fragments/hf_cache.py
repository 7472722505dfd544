# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options and notes of the modules that work on a whole Hugging Face cache."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - Absolute path of the cache. It is read together with its subfolder C(hub), and with plain folders that were the
        target of a download (C(.cache/huggingface/download), at most two levels down).
      - A symbolic link, a file, the root directory and system folders are rejected.
    type: path
    default: /opt/hf
notes:
  - Requires root. Otherwise the open files of other users are not visible, and it is unknown (V(null)) whether a
    partial download is live.
  - Nothing outside of O(path) is changed. Links that lead out of it are reported.
  - Names are shown on one line. Control characters and bytes that are not text are shown as C(\xNN).
"""
