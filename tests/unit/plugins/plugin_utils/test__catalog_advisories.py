# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images have a security advisory: by the version of their vLLM, unless an entry says otherwise."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.advisories import advisories_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import version_key

CATALOG = Catalog()
HOST = "CVE-2026-48746"


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        *(("0.2.7", False), ("0.3.0", True), ("0.10.1.1", True), ("0.21.1", True), ("0.22.0rc1", True)),
        *(("0.22.0", False), ("0.23.1rc1.dev790", False), ("0.32.0", False), (None, False)),
    ],
)
def test_the_version_decides(version: str | None, has_it: bool) -> None:
    assert (HOST in advisories_of(version, CATALOG.advisories())) == has_it


@pytest.mark.parametrize("ref", CATALOG.images())
def test_an_image_of_the_matrix_has_those_of_its_version(ref: str) -> None:
    entry = CATALOG.image(ref)
    assert (HOST in entry["security"]) == bool(entry["vllm"] and version_key(entry["vllm"]) < version_key("0.22.0"))


def test_a_tag_that_says_its_version_and_an_entry_that_knows_better() -> None:
    ref = "vllm/vllm-openai:v0.15.0"
    assert CATALOG.image(ref, unknown_too=True)["security"] == [HOST]
    assert CATALOG.image(ref, {ref: {"security": []}})["security"] == []


def test_the_table_is_complete() -> None:
    for name, advisory in CATALOG.advisories().items():
        assert set(advisory) - {"with_key"} == {"what", "since", "fixed_in", "source"}, name
        assert advisory.get("with_key", True) is True, name
        assert version_key(advisory["since"]) < version_key(advisory["fixed_in"])
        assert advisory["source"][:3] in ("M: ", "S: ", "C: ", "W: ")


@pytest.mark.parametrize(
    ("version", "names"),
    [("0.32.0", []), ("0.31.0", ["PYSEC-2026-4344", "PYSEC-2026-4349"]), (None, [])],
)
def test_what_only_the_holder_of_a_key_can_do_bars_nothing(version: str | None, names: list[str]) -> None:
    assert advisories_of(version, CATALOG.advisories(), with_key=True) == names
    assert not set(names) & set(advisories_of(version, CATALOG.advisories()))
