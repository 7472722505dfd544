# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two services of one machine."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.conflicts import Service, clashes


@pytest.mark.parametrize(
    ("second", "begin"),
    [
        (Service("b", "192.0.2.2", "vllm", "8000"), None),
        (Service("b", "192.0.2.1", "vllm-b", "8001"), None),
        (Service("b", "192.0.2.1", "vllm-b", "8000"), "vllm_port: 8000 is taken twice, a and b are one machine"),
        (Service("b", "192.0.2.1", "vllm", "8001"), "vllm_service_name: vllm is taken twice, a and b are one machine"),
    ],
)
def test_clashes(second: Service, begin: str | None) -> None:
    lines = clashes([Service("a", "192.0.2.1", "vllm", "8000"), second])
    assert lines == [] if begin is None else (len(lines) == 1 and lines[0].startswith(begin))
