# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network without hub and registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.sandbox import Sandbox


@pytest.fixture
def no_hub_no_registry(sandbox: Sandbox) -> Iterator[None]:
    """Both are there and do not answer."""
    with sandbox.silent("hub", "registry"):
        yield
