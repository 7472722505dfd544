# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`promtool` of the distribution's package prometheus: installed, or as tools/promtool.sh has unpacked it."""

from __future__ import annotations

import shutil

from support.paths import ROOT


def promtool() -> str:
    found = shutil.which("promtool", path=str(ROOT / ".cache" / "promtool")) or shutil.which("promtool")
    assert found, "promtool is missing; run: tools/promtool.sh, or install the package prometheus"
    return found
