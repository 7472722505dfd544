# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny models for a hub of a test's own, made by what makes those of the sandbox's hub."""

from __future__ import annotations

import sys

from support.paths import SANDBOX

sys.path.insert(0, str(SANDBOX / "hub"))

from make_models import bfloat16, make, save

__all__ = ["bfloat16", "make", "save"]
