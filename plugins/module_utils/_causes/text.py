# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a message: without secrets, in one line, short, and with a place to read more."""

from __future__ import annotations

import functools
import re
import typing as t

MAX_EVIDENCE = 300

_NAMES = "transfer|xet|overrides|config|quant|text|token|hub"  # of packages and options, not tokens
_TOKEN = re.compile(rf"hf_(?<![A-Za-z0-9_]hf_)(?:(?:oauth|jwt)_[\w.-]+|(?!(?:{_NAMES})(?![A-Za-z0-9]))[A-Za-z0-9]+)")
_KEY = re.compile(r"sk-(?<![A-Za-z0-9]sk-)[\w-]{16,}")
# What stands before a secret in a header, an option, an address or a dictionary: vLLM logs its own api_key so. Plain
# words, because a search for those skips nearly all of a log.
_NAMED = ("api_key", "api_keys", "api-key", "apikey", "apiKey", "hf_token", "access_token", "auth_token", "password")
_BEFORE = [f"{name}{mark}" for name in (*_NAMED, *map(str.upper, _NAMED)) for mark in ("=", "':", '":')]
_BEFORE += ["bearer ", "Bearer ", "--api-key ", "?token=", "&token=", "?key=", "&key="]
_SECRET = re.compile(
    rf"({'|'.join(map(re.escape, _BEFORE))})"
    r" {0,3}(?:\[[^\]\n]{1,2000}\]?|['\"][^'\"\n]{1,2000}['\"]?|[^\s'\",\]})&]{6,2000})"
)
_PASSWORD = re.compile(r"://[^/\s@]{1,300}@")
_SIGNED = re.compile(r"\?[^\s'\"?]{0,2000}?(?:Signature=|X-Amz-)[^\s'\"]{0,4000}")


@functools.cache
def compiled(pattern: str, flags: int = re.IGNORECASE | re.MULTILINE) -> t.Pattern[str]:
    """At its first use: to compile all of the signatures would take as long as a look at a server."""
    return re.compile(pattern, flags)


def link(name: str) -> str:
    """Where to read more about a cause or a note: tools/troubleshooting.py writes that page."""
    return f"docs/troubleshooting.md#{name}"


def mask(text: str, *secrets: str | None) -> str:
    """Remove tokens, keys, passwords and signatures in addresses, and the given secrets from a text."""
    text = hide(_TOKEN.sub("hf_***", text), *secrets)
    return mask_addresses(_SECRET.sub(r"\1***", _KEY.sub("***", text)))


def mask_addresses(text: str) -> str:
    """Remove passwords and signatures in addresses."""
    return _SIGNED.sub("?***", _PASSWORD.sub("://***@", text))


def hide(text: str, *secrets: str | None) -> str:
    for secret in secrets:
        if secret and len(secret) >= 4:  # a shorter one would tear words apart
            text = text.replace(secret, "***")
    return text


def shorten(text: str) -> str:
    return text if len(text) <= MAX_EVIDENCE else text[: MAX_EVIDENCE - 1] + "…"


def shorten_middle(text: str) -> str:
    """Keep both ends: Docker wraps its errors, so the decisive words are the last ones."""
    if len(text) <= MAX_EVIDENCE:
        return text
    tail = MAX_EVIDENCE * 2 // 3
    return text[: MAX_EVIDENCE - tail - 3] + " … " + text[-tail:]


def around(text: str, begin: int, end: int) -> str:
    """One line around what was found in a text, which is in it even if the text is long."""
    if len(text) <= MAX_EVIDENCE or end < MAX_EVIDENCE:
        return shorten(text)
    end = min(end + 8, begin + MAX_EVIDENCE - 2, len(text))
    first = max(0, end - MAX_EVIDENCE + 2)
    return "…" + text[first : first + MAX_EVIDENCE - 2] + ("…" if first + MAX_EVIDENCE - 2 < len(text) else "")
