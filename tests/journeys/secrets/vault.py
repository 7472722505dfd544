# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that the host has not seen: what other tests wrote into its journal is not looked for."""

from __future__ import annotations

import uuid

HF_TOKEN = f"hf_sandboxgranted{uuid.uuid4().hex}"
API_KEY = f"sk-sandbox-{uuid.uuid4().hex}"
SECRETS = [HF_TOKEN, API_KEY]
