# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that comes without Docker. Molecule has run the role on it: see molecule/runtime."""

from __future__ import annotations

import pytest

from support.sandbox import Sandbox, Spark


@pytest.fixture(scope="session")
def spark(sandbox: Sandbox) -> Spark:
    return sandbox["spark02"]
