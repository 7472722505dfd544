# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of this journey: who copies from whom, and where."""

from __future__ import annotations

from support.paths import JOURNEYS
from support.sandbox import GATEWAY, NAMES

PLAY = JOURNEYS / "replicate" / "replicate.yml"
SOURCE, TARGET = NAMES
CACHE = "/opt/hf-journey-replicate"
DISK = "/opt/journey-disk"
MODEL = "journey/model"
PORT = 8098
ENDPOINT = f"http://{GATEWAY}:{PORT}"
