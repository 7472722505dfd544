# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are in this clone."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The programs of the virtual environment that runs the tests.
BIN = Path(sys.executable).parent
FIXTURES = ROOT / "tests" / "fixtures"
JOURNEYS = ROOT / "tests" / "journeys"
SUPPORT = ROOT / "tests" / "support"
# A configuration of Ansible.
NO_SETTINGS = SUPPORT / "no_settings.cfg"
# What the sandbox is made of.
SANDBOX = ROOT / "molecule" / "shared"
