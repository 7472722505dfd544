# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alternative of a pattern is reached: a text is only examined if it holds one of the signature's literals."""

from __future__ import annotations

import importlib
import random
import time
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import causes
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.entries import Signature
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.signatures import SIGNATURES
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import compiled
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.lines import MAX_LINE

PARSER = importlib.import_module("re._parser")
TRIES = 40  # texts of one alternative: its inner choices are taken at random
CLASSES = {"CATEGORY_DIGIT": "7", "CATEGORY_SPACE": " "}


def alternatives(pattern: str) -> t.Iterator[str]:
    """What stands between the outermost bars."""
    depth, inside, begin, position = 0, False, 0, 0
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            position += 1
        elif inside:
            inside = char != "]"
        elif char == "[":
            inside = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and not depth:
            yield pattern[begin:position]
            begin = position + 1
        position += 1
    yield pattern[begin:]


def sample(tree: t.Any, dice: random.Random) -> str:
    """A text that has what the pattern spells out; everything else is a tilde, which is in no literal."""
    text = ""
    for code, value in tree:
        name = str(code)
        if name == "LITERAL":
            text += chr(value)
        elif name in ("ANY", "NOT_LITERAL"):
            text += "~"
        elif name == "IN":
            text += one_of(value, dice)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            text += "".join(sample(inner, dice) for _time in range(dice.randint(least, min(int(most), least + 1))))
        elif name == "SUBPATTERN":
            text += sample(value[3], dice)
        elif name == "BRANCH":
            text += sample(dice.choice(value[1]), dice)
    return text


def one_of(choices: t.Any, dice: random.Random) -> str:
    found = []
    for code, value in choices:
        name = str(code)
        if name == "NEGATE":
            return "~"
        if name == "LITERAL":
            found.append(chr(value))
        elif name == "RANGE":
            found.append(chr(dice.randint(*value)))
        else:
            found.append(CLASSES.get(str(value), "w"))
    return dice.choice(found)


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.id)
def test_every_alternative_is_reached(signature: Signature) -> None:
    dice = random.Random(1)
    for alternative in alternatives(signature.pattern):
        tree = PARSER.parse(alternative)
        for _time in range(TRIES):
            text = sample(tree, dice).lower()
            assert any(literal in text for literal in signature.literals), (alternative, text)


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.id)
def test_what_a_line_does_not_name_leaves_no_gap(signature: Signature) -> None:
    """Not every alternative has every group; a sentence that needs one would have a question mark in its place."""
    dice = random.Random(2)
    tree = PARSER.parse(signature.pattern)
    for _time in range(TRIES):
        match = compiled(signature.pattern).search(sample(tree, dice))
        if match is None:  # what is only looked at, before or after, is not in the text
            continue
        cause = causes.explain(causes.Match(signature, causes.groups(match), ""))
        said = cause.meaning + cause.remedy
        assert "?" not in said.replace(match.group(), ""), (match.group(), said)


LONG = 0.15  # seconds; a pattern whose runs are bounded takes a third of it at most


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.id)
def test_the_longest_line_is_searched_at_once(signature: Signature) -> None:
    """An unbounded run that may begin anywhere takes the square of the line's length."""
    pattern = compiled(signature.pattern)
    for literal in signature.literals:
        for filling in ("_", "7", "a."):
            run = (filling * MAX_LINE)[: MAX_LINE - len(literal)]
            begin = time.process_time()
            pattern.search(run + literal)
            pattern.search(literal + run)
            assert time.process_time() - begin < LONG, (literal, filling)


def test_the_alternatives_of_a_pattern() -> None:
    assert list(alternatives(r"a|b(?:c|d)|[|]e|f\|g")) == ["a", "b(?:c|d)", "[|]e", r"f\|g"]
