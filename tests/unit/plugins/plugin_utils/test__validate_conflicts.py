# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two services of one machine."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.conflicts import Service, clashes

A = Service("a", "192.0.2.1", "vllm", "8000", "/opt/vllm", "vllm-x", "/opt/hf")
B = Service("b", "192.0.2.1", "vllm-b", "8001", "/opt/vllm-b", "vllm-b-x", "/opt/hf")
ONE_MACHINE = "a and b are one machine (192.0.2.1)"


@pytest.mark.parametrize(
    ("second", "line"),
    [
        (A._replace(host="b", machine="192.0.2.2"), None),
        (B, None),
        (B._replace(cache="/data/hf"), None),
        (
            B._replace(port="8000"),
            f"vllm_port: 8000 is taken twice, {ONE_MACHINE}; give one of them another port",
        ),
        (
            B._replace(name="vllm"),
            f"vllm_service_name: vllm is taken twice, {ONE_MACHINE}; give one of them another name",
        ),
        (
            B._replace(container="vllm-x"),
            f"vllm_container_name: vllm-x is taken twice, {ONE_MACHINE}; give one of them another name",
        ),
        (
            B._replace(home="/opt/vllm"),
            f"vllm_home: /opt/vllm is taken twice, {ONE_MACHINE}; give one of them another folder",
        ),
        *(
            (
                B._replace(**places),
                f"vllm_home: {one} and {two} lie in one another, {ONE_MACHINE}; use folders that do not",
            )
            for places, one, two in (
                ({"home": "/opt/vllm/"}, "/opt/vllm", "/opt/vllm/"),
                ({"home": "/opt/vllm/b"}, "/opt/vllm", "/opt/vllm/b"),
                ({"cache": "/opt"}, "/opt/vllm", "/opt"),
                ({"home": "/opt/hf/vllm", "cache": "/data"}, "/opt/hf/vllm", "/opt/hf"),
            )
        ),
    ],
)
def test_clashes(second: Service, line: str | None) -> None:
    assert clashes([A, second]) == ([] if line is None else [line])
