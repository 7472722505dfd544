# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answer to a chat request with a tool shows of the parsers, in the formats that models are trained on."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.parsers import PARSERS, Parsed, judge
from hypothesis import given
from hypothesis import strategies as st

CALL = {"id": "x", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


def body(finish_reason: str = "stop", **message: t.Any) -> str:
    return json.dumps({"choices": [{"message": {"content": None, **message}, "finish_reason": finish_reason}]})


def call(**function: t.Any) -> dict[str, t.Any]:
    return {**CALL, "function": {**CALL["function"], **function}}


@pytest.mark.parametrize(
    ("answer", "proven"),
    [
        (body(tool_calls=[CALL]), ("tool_call",)),
        (body(tool_calls=[CALL], reasoning="The tool get_weather(city) fits."), ("reasoning", "tool_call")),
        (body(content="It rains.", reasoning_content="Let me think."), ("reasoning",)),
        (body(content="I cannot tell the weather of a city."), ()),
        (body(content="I would call get_weather for Paris."), ()),
        (body(content="You can use the `get_weather` function with the city Paris."), ()),
        (body(content="get_weather, which takes a city, is not what I am for."), ()),
        (body("length", content="<think>The user asks for the weather, and get_weather(city="), ()),
        (body("length", reasoning="The user asks"), ("reasoning",)),
        (body("length", tool_calls=[call(arguments='{"city": "Pa')]), ()),  # the answer ended within it
        (body(content=""), ()),
        ("{}", ()),
        ("no JSON", ()),
    ],
)
def test_what_is_proven(answer: str, proven: tuple[str, ...]) -> None:
    assert judge(answer, PARSERS) == Parsed(proven)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>",
        '[TOOL_CALLS]get_weather{"city": "Paris"}',
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}}]',
        '[get_weather(city="Paris")]',
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}',
        '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
        'commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"}',
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>",
    ],
)
def test_a_call_that_is_left_in_the_text(text: str) -> None:
    found = judge(body(content=f"Let me look. {text}"), PARSERS)
    assert found.problem and found.problem[0] == "tool_parser"
    assert "get_weather" in found.problem[1]
    assert "\n" not in found.problem[1]
    assert judge(body(content=text), ("reasoning",)).problem is None  # nobody asked


@pytest.mark.parametrize("function", [{"name": ""}, {"arguments": "city=Paris"}, {"arguments": "[]"}])
def test_a_call_without_a_name_or_arguments(function: dict[str, str]) -> None:
    found = judge(body(tool_calls=[call(**function)]), PARSERS)
    assert found.problem and found.problem[0] == "tool_parser"


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nIt may rain.\n</think>\nIt rains.",
        "It may rain.\n</think>\nIt rains.",
        "[THINK]It may rain.[/THINK]It rains.",
        "<|channel|>analysis<|message|>It may rain.",
    ],
)
def test_reasoning_that_is_left_in_the_text(text: str) -> None:
    found = judge(body(content=text), PARSERS)
    assert found.problem and found.problem[0] == "reasoning_parser"
    assert judge(body(content=text), ("tool_call",)).problem is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["choices", "message", "content", "tool_calls", "function", "name", "arguments", "x"]),
                inner,
            )
        ),
    )
)
def test_no_answer_makes_it_raise(found: t.Any) -> None:
    judge(json.dumps(found), PARSERS)
