# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command line that the catalog leads to, against the recorded options of the image's vLLM.

What is recorded for that version, or for the adjacent ones where it was not. tests/journeys/guide asks a real vLLM.
"""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from planned import Planned, planned

CATALOG = Catalog()


def unknown_words(item: Planned) -> list[str]:
    """The options that this vLLM does not know, or that lack a value, or have one too many."""
    known = CATALOG.options(item.vllm).by_name
    wrong = []
    words = item.words[1:]
    for number, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name = word[2:].partition("=")[0].replace("-", "_")
        value = "=" in word or (number + 1 < len(words) and not words[number + 1].startswith("--"))
        positive = name.removeprefix("no_")
        if name in known:
            fits = known[name].value if value else known[name].flag
        else:
            fits = positive in known and known[positive].negatable and not value
        if not fits:
            wrong.append(word)
    return wrong


def test_every_model_profile_and_image_is_planned() -> None:
    assert {item.model for item in planned()} == set(CATALOG.models())
    assert {item.profile for item in planned()} == set(CATALOG.profiles())
    assert {item.image for item in planned()} == set(CATALOG.images())


@pytest.mark.parametrize("ref", CATALOG.images())
def test_no_option_is_unknown(ref: str) -> None:
    lines = [item for item in planned() if item.image == ref]
    assert lines
    assert [(item.model, item.profile, wrong) for item in lines if (wrong := unknown_words(item))] == []
    assert all(item.words[0] == CATALOG.models()[item.model]["id"] for item in lines)


def test_an_unknown_option_would_be_found() -> None:
    words = ["a/b", "--swap-space", "4", "--max-num-seqs", "--enforce-eager", "1", "--no-max-num-seqs"]
    assert unknown_words(Planned("", "", "", "0.32.0", words, {})) == [
        "--swap-space",
        "--max-num-seqs",
        "--enforce-eager",
        "--no-max-num-seqs",
    ]


def test_kernel_switches_reach_the_environment() -> None:
    found = {
        item.environment.get("VLLM_DISABLED_KERNELS")
        for item in planned()
        if (item.model, item.image) == ("qwen3-8b-fp8", "vllm/vllm-openai:v0.20.0-cu130")
    }
    assert found == {"CutlassFp8BlockScaledMMKernel"}
