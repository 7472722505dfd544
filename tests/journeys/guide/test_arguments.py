# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command line that the catalog leads to, read by the parser of a real vLLM. One container for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import ROLES
from ansible_collections.dgxspark.vllm.tests.unit.catalog.planned import planned

from support.sandbox import IMAGE, Spark

pytestmark = pytest.mark.usefixtures("prepared")

PROGRAM = ROLES / "vllm" / "files" / "parse_arguments.py"
MODELS = Catalog().models()
BAD = {
    "--swap-space=4": "unrecognized arguments: --swap-space=4",
    "--max-model-len=lots": "argument --max-model-len: invalid ",
    "--kv-cache-dtype=fp9": "argument --kv-cache-dtype: invalid choice: 'fp9'",
    "--enable-auto-tool-choice": "Error: --enable-auto-tool-choice requires --tool-call-parser",
    "--reasoning-parser=none": "invalid reasoning parser: none",
    "--help": "asks for a text instead of serving",
}


def with_parsers(name: str) -> list[str]:
    """A model's command line with the parsers that the catalog names."""
    words = [MODELS[name]["id"]]
    if "reasoning_parser" in MODELS[name]:
        words += ["--reasoning-parser", MODELS[name]["reasoning_parser"]]
    if "tool_call_parser" in MODELS[name]:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", MODELS[name]["tool_call_parser"]]
    return words


@pytest.fixture(scope="module")
def answers(spark: Spark) -> Iterator[dict[tuple[str, ...], str | None]]:
    lines = sorted({tuple(item.words) for item in planned()})
    lines += [tuple(with_parsers(name)) for name in MODELS]
    lines += [("a/b", word) for word in BAD]
    folder = spark.check_output("mktemp --directory")
    spark.check_output("printf %%s %s >%s/program.py", PROGRAM.read_text(), folder)
    spark.check_output("printf %%s %s >%s/lines.json", json.dumps(lines), folder)
    with spark.sudo():
        output = spark.check_output(
            "docker run --rm --network none --volume %s:/in:ro --entrypoint python3 %s /in/program.py /in/lines.json",
            folder,
            IMAGE,
        )
        spark.check_output("rm -r %s", folder)
    yield dict(zip(lines, json.loads(output), strict=True))


def test_every_planned_command_line_is_accepted(answers: dict[tuple[str, ...], str | None]) -> None:
    assert {item.model for item in planned()} == set(MODELS)
    assert {(item.model, item.image): error for item in planned() if (error := answers[tuple(item.words)])} == {}


@pytest.mark.parametrize("name", MODELS)
def test_the_parsers_of_a_model_exist(answers: dict[tuple[str, ...], str | None], name: str) -> None:
    assert answers[tuple(with_parsers(name))] is None


@pytest.mark.parametrize(("word", "begin"), BAD.items())
def test_what_is_wrong_is_found(answers: dict[tuple[str, ...], str | None], word: str, begin: str) -> None:
    assert str(answers["a/b", word]).startswith(begin)
    assert "\n" not in str(answers["a/b", word])
