# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options that name a model, its revision and the cache that holds it."""

    DOCUMENTATION = r"""
options:
  model:
    description: Hugging Face ID of the model, such as V(Qwen/Qwen3-8B-FP8).
    type: str
    required: true
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  path:
    description: Absolute path of the Hugging Face cache (C(HF_HUB_CACHE)).
    type: path
    default: /opt/hf
"""

    # Modules that connect to the hub.
    HUB = r"""
options:
  endpoint:
    description: URL of a Hugging Face mirror. The public hub by default.
    type: str
"""

    # Modules that show the progress of a download.
    SIZE = r"""
options:
  expected_bytes:
    description: Size of the model in bytes. Used as long as the hub's list of files is not available.
    type: int
"""
