# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that bring an image for a release of a service."""

    DOCUMENTATION = r"""
options:
  home:
    description: Folder of the service on the host, which M(dgxspark.vllm.vllm_home) has created.
    type: path
    required: true
  release:
    description: Name of the release that needs the image. Its folder has to exist.
    type: str
    required: true
"""
