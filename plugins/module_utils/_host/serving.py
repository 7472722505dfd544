# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clients of a vLLM server have to know, from the command and the environment of its container. No secret."""

from __future__ import annotations

import re
import shlex
import typing as t

from .._outside.text import plain

# The program that serves, also within a shell's command, or as Python's module. An image that is called after vLLM may
# hold a router or an exporter, and one that sleeps may serve by `docker exec`: no one could start that again.
SERVES = re.compile(r"(?:^|[\s;&|/])vllm\s+serve(?:\s|$)|\bvllm[./]entrypoints[./]\S*(?:api_server|main\s+serve)\b")
_KEY = re.compile(r"(?:^|\s)VLLM_API_KEY=['\"]?[^\s'\"]")
_KEY_VALUE = re.compile(r"(?:^|\s)VLLM_API_KEY=['\"]?([^\s'\"]+)")
_OPERATOR = re.compile(r"[;&|<>()]+")


def access_of(command: t.Sequence[str], environment: t.Sequence[str]) -> dict[str, t.Any]:
    """The names of the model, none if they are not known, and whether an API key is asked for; None: not known."""
    options = _options(_arguments(command))
    names = options.get("--served-model-name") or options.get("--model") or options.get("")
    has_key = any(map(_KEY.search, [*environment, *command])) or bool("".join(options.get("--api-key", [])))
    is_told = "--config" not in options  # a file within the container may hold any option
    return {
        # what a shell puts in is not known
        "served_names": [plain(name) for name in names or [] if name and "$" not in name and is_told],
        "asks_key": True if has_key else False if is_told and options else None,
    }


def takes_only(key: str, command: t.Sequence[str], environment: t.Sequence[str]) -> bool:
    """Whether KEY is the API key that the server asks for, and there is no other."""
    given = _options(_arguments(command)).get("--api-key")  # counts more than the environment
    found = given or [key for text in [*environment, *command] for key in _KEY_VALUE.findall(text)]
    return set(found) == {key}


def _arguments(command: t.Sequence[str]) -> list[str]:
    """What follows the program that serves."""
    for at, word in enumerate(command):
        found = SERVES.search(word)
        if found and len(word.split()) > 1:  # a shell's command
            return _shell_words(word[found.end() :])
        if found:
            return list(command[at + 1 :])
        if " " not in "".join(command[at : at + 2]) and SERVES.search(" ".join(command[at : at + 2])):
            return list(command[at + 2 :])
    return []


def _shell_words(text: str) -> list[str]:
    """Those of the first command."""
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        for word in lexer:
            if _OPERATOR.fullmatch(word):
                break
            words.append(word)
    except ValueError:  # a quotation without an end
        return []
    return words


def _options(words: t.Sequence[str]) -> dict[str, list[str]]:
    """Values by option; what stands before the first one has an empty name."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, sign, value = word.partition("=")
            name = name.replace("_", "-")
            found[name] = [value] if sign else []
        else:
            found.setdefault(name, []).append(word)
    return found
