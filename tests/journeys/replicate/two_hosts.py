# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of this journey: the first two hosts of the inventory, and the hub of the journey `download` at a port."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "download" / "tests"))
import own_hub

MOLECULE = Path(__file__).resolve().parents[2]
IMAGE, MODEL = own_hub.IMAGE, own_hub.MODEL
CACHE = "/opt/hf-journey-replicate"
DISK = "/opt/journey-disk"
_INVENTORY = Path(os.environ.get("DGXSPARK_INVENTORY") or MOLECULE.parent / "inventories" / "sandbox")
SOURCE, TARGET = list(yaml.safe_load((_INVENTORY / "hosts.yml").read_text())["spark"]["hosts"])[:2]


class Hub(own_hub.Hub):
    port = 8098
    endpoint = f"http://{own_hub.GATEWAY}:8098"
