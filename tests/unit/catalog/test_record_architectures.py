# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder of architectures, and what it recorded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import version_key

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "tools/record_architectures.py"
RECORDED = yaml.safe_load((ROOT / "catalog/architectures.yml").read_text(encoding="utf-8"))
REGISTRY = """
_TEXT_GENERATION_MODELS = {"Always": ("a", "A"), %s}
_MULTIMODAL_MODELS: dict[str, tuple[str, str]] = {"Seeing": ("s", "S")}
_VLLM_MODELS = {**_TEXT_GENERATION_MODELS, **_MULTIMODAL_MODELS}
_PREVIOUSLY_SUPPORTED_MODELS = {"Gone": "0.9.0"}
_OOT_SUPPORTED_MODELS = {"Plugin": "https://example.org"}
_SUBPROCESS_COMMAND = [1]
"""


def source(folder: Path, version: str, more: str) -> str:
    registry = folder / version / "vllm/model_executor/models/registry.py"
    registry.parent.mkdir(parents=True)
    registry.write_text(REGISTRY % more, encoding="utf-8")
    return f"{version}={folder / version}"


def test_what_is_recorded(tmp_path: Path) -> None:
    sources = [
        source(tmp_path, "0.10.0", '"New": ("n", "N")'),
        source(tmp_path, "0.9.1", '"Old": ("o", "O")'),
        source(tmp_path, "0.11.0", '"New": ("n", "N"), "Newer": ("n", "N")'),
    ]
    text = subprocess.run([sys.executable, TOOL, *sources], check=True, capture_output=True, text=True).stdout
    assert yaml.safe_load(text) == {
        "versions": ["0.9.1", "0.10.0", "0.11.0"],
        "architectures": {
            "Always": {},
            "New": {"since": "0.10.0"},
            "Newer": {"since": "0.11.0"},
            "Old": {"until": "0.9.1"},
            "Seeing": {},
        },
    }


def test_the_record_is_complete() -> None:
    versions = RECORDED["versions"]
    assert versions == sorted(versions, key=version_key)
    assert all(value in versions for span in RECORDED["architectures"].values() for value in span.values())
    # the newest option list is of a version whose architectures are known, too
    newest = max((path.stem for path in (ROOT / "catalog/vllm_options").glob("*.yml")), key=version_key)
    assert versions[-1] == newest


@pytest.mark.parametrize("ref", [ref for ref, image in Catalog().images().items() if image.get("vllm")])
def test_every_version_of_the_matrix_is_recorded_or_between_two(ref: str) -> None:
    key = version_key(Catalog().images()[ref]["vllm"])
    assert version_key(RECORDED["versions"][0]) <= key <= version_key(RECORDED["versions"][-1])
