# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded logs of vLLM."""

from __future__ import annotations

from pathlib import Path

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"
LOGS = FIXTURES / "0.32"


def read(name: str) -> str:
    return (LOGS / name).read_bytes().decode("utf-8")
