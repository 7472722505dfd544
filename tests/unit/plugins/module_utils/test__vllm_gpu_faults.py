# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of a real vLLM on a real GPU: each log with the diagnosis that is right. tests/gpu/faults.py recorded them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import diagnose

FAULTS = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm" / "0.24" / "faults"
EXPECTED: dict[str, dict[str, t.Any]] = yaml.safe_load((FAULTS / "expected.yml").read_text())


def text(name: str) -> str:
    return (FAULTS / f"{name}.log").read_text()


def test_every_log_is_expected() -> None:
    assert {path.stem for path in FAULTS.glob("*.log")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_fault(name: str) -> None:
    want = EXPECTED[name]
    found = diagnose(text(name), exit_code=want["exit_code"])
    cause = found["cause"]
    assert (found["verdict"], found["vllm_version"] in ("0.24.0", None)) == ("failed", True)
    assert (cause["id"], cause["family"], cause["certain"]) == (want["cause"], want["family"], True)
    assert want.get("meaning", "") in cause["meaning"]
    assert want.get("phase", found["phase"]) == found["phase"]
    for piece in want["remedy"]:
        assert piece in cause["remedy"]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_log_alone_tells_the_same(name: str) -> None:
    assert diagnose(text(name))["cause"] == diagnose(text(name), exit_code=EXPECTED[name]["exit_code"])["cause"]
