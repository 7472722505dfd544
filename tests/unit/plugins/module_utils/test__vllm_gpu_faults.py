# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of a real vLLM on real GPUs: each log with the diagnosis that is right. tests/gpu recorded them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.diagnose import diagnose

RECORDED = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm"
VERSIONS = ("0.24", "0.32")


def expected(kind: str) -> dict[Path, dict[str, t.Any]]:
    return {
        RECORDED / version / kind / f"{name}.log": want
        for version in VERSIONS
        for name, want in yaml.safe_load((RECORDED / version / kind / "expected.yml").read_text()).items()
    }


EXPECTED, OF_A_PAIR = expected("faults"), expected("pair")


def name_of(path: Path) -> str:
    return f"{path.parts[-3]} {path.stem}"


def test_every_log_is_expected() -> None:
    for kind, found in (("faults", EXPECTED), ("pair", OF_A_PAIR)):
        assert {path for version in VERSIONS for path in (RECORDED / version / kind).glob("*.log")} == set(found)


@pytest.mark.parametrize("path", EXPECTED, ids=name_of)
def test_fault(path: Path) -> None:
    want = EXPECTED[path]
    found = diagnose(path.read_text(), exit_code=want["exit_code"])
    cause = found["cause"]
    assert (found["verdict"], found["vllm_version"] in (f"{path.parts[-3]}.0", None)) == ("failed", True)
    assert (cause["id"], cause["family"], cause["certain"]) == (want["cause"], want["family"], True)
    assert want.get("meaning", "") in cause["meaning"]
    assert want.get("phase", found["phase"]) == found["phase"]
    for piece in want["remedy"]:
        assert piece in cause["remedy"]


@pytest.mark.parametrize("path", EXPECTED, ids=name_of)
def test_the_log_alone_tells_the_same(path: Path) -> None:
    text = path.read_text()
    assert diagnose(text)["cause"] == diagnose(text, exit_code=EXPECTED[path]["exit_code"])["cause"]


@pytest.mark.parametrize("path", OF_A_PAIR, ids=name_of)
def test_rank(path: Path) -> None:
    """A rank that serves logs nothing: neither that it has lost the head nor that the head asks nothing of it."""
    want = OF_A_PAIR[path]
    code = want.get("exit_code")
    found = diagnose(
        path.read_text(), exit_code=code, running=code is None, idle_seconds=0 if code is not None else 1000
    )
    assert found["verdict"] == want.get("verdict", "failed")
    assert (found["cause"] or {}).get("id") == want.get("cause")
    assert (found["hint"] or {}).get("id") == want.get("hint", (found["hint"] or {}).get("id"))
    assert want.get("phase", found["phase"]) == found["phase"]
    if found["cause"]:
        assert found["cause"]["family"] == want.get("family", "network")
        assert want.get("meaning", "") in found["cause"]["meaning"]
        assert all(piece in found["cause"]["remedy"] for piece in want.get("remedy", []))
