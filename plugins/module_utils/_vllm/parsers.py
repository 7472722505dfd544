# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that the parsers of a server fit its model: one chat request with a tool.

A parser of another model's format answers 200, and the call of the tool, or the reasoning, is left in the text. Whether
the model calls a tool is its own choice, so only what it did can be judged.
"""

from __future__ import annotations

import re
import typing as t

from .._outside.text import plain
from .._outside.values import mapping, parse_json, sequence, text
from .api import MAX_MESSAGE, error_message, request

PARSERS = ("tool_call", "reasoning")

# Tokens of the answer: enough for a short thought and a call.
_TOKENS = 400
_TOOL = {
    "name": "get_weather",
    "description": "Get the current weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
# In whatever format a model writes it: {"name": "get_weather", "arguments": ...}, get_weather(city=...),
# <function=get_weather><parameter=city>, [TOOL_CALLS]get_weather{"city": ...; a sentence about the tool is no call.
_CALL = re.compile(
    r"""get_weather(?:["']\s*,\s*["'](?:arguments|parameters)["']|\(\s*(?:\{|city\s*=)|\s*\{|>?\s*<(?:\||parameter|arg_key))"""
)
_THOUGHT = re.compile(r"</?think>|\[/?THINK\]|<\|channel\|?>|</?seed:think>|<\|/?think\|>", re.IGNORECASE)


# The server has a shorter context than the request wants.
_TOO_LONG = re.compile(r"context length|max_tokens|max_completion_tokens|max_model_len", re.IGNORECASE)


class Parsed(t.NamedTuple):
    """Which parsers were seen at work, and of one that is wrong the condition and its evidence."""

    proven: tuple[str, ...] = ()
    problem: tuple[str, str] | None = None


def prove_parsers(url: str, model: str, wanted: t.Sequence[str], timeout: float, key: str | None = None) -> Parsed:
    """One request for those of PARSERS that are wanted. No answer in time proves nothing, and is no problem."""
    data: dict[str, t.Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the weather in Paris? Use the tool."}],
        "max_tokens": _TOKENS,
        "temperature": 0,
    }
    if "tool_call" in wanted:
        data.update(tools=[{"type": "function", "function": _TOOL}], tool_choice="auto")
    answer = request(f"{url}/v1/chat/completions", timeout, key, data)
    if answer.status is None:
        return Parsed()
    if answer.status == 400 and _TOO_LONG.search(answer.body):
        return Parsed()
    if answer.status != 200:
        return Parsed(problem=("chat_failed", f"/v1/chat/completions: {error_message(answer)}"))
    return judge(answer.body, wanted)


def judge(body: str, wanted: t.Sequence[str]) -> Parsed:
    """What the answer of a chat request shows of the wanted parsers."""
    choices = sequence(mapping(parse_json(body)).get("choices"))
    choice = mapping(choices[0]) if choices else {}
    message = mapping(choice.get("message"))
    is_cut = choice.get("finish_reason") == "length"  # a parser may wait for an end that is not there
    said = "" if is_cut else text(message.get("content"))
    proven = []
    if "reasoning" in wanted:
        mark = _THOUGHT.search(said)
        if mark:
            return Parsed(problem=("reasoning_parser", _around(said, mark)))
        if text(message.get("reasoning")) or text(message.get("reasoning_content")):  # its name depends on the version
            proven.append("reasoning")
    if "tool_call" in wanted:
        calls = [mapping(mapping(call).get("function")) for call in sequence(message.get("tool_calls"))]
        broken = [call for call in calls if not _is_call(call)]
        in_text = None if calls else _CALL.search(said)
        if in_text:
            return Parsed(problem=("tool_parser", _around(said, in_text)))
        if broken and not is_cut:
            evidence = f"name {broken[0].get('name')!r}, arguments {broken[0].get('arguments')!r}"
            return Parsed(problem=("tool_parser", plain(evidence)[:MAX_MESSAGE]))
        if calls and not broken:
            proven.append("tool_call")
    return Parsed(tuple(proven))


def _is_call(call: t.Mapping[str, t.Any]) -> bool:
    return bool(text(call.get("name"))) and isinstance(parse_json(text(call.get("arguments"))), dict)


def _around(said: str, match: re.Match[str]) -> str:
    begin = max(0, match.start() - 40)
    return plain(" ".join(said[begin : begin + MAX_MESSAGE].split()))
