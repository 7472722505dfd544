# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a message: without secrets, in one line, short, and with a place to read more."""

from __future__ import annotations

import functools
import re
import typing as t

MAX_EVIDENCE = 300

_NAMES = "transfer|xet|overrides|config|text|token|hub"  # of packages and options, not tokens
_TOKEN = re.compile(rf"(?<![A-Za-z0-9_])hf_(?!(?:{_NAMES})(?![A-Za-z0-9]))[A-Za-z0-9]+")
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
    """Remove Hugging Face tokens, passwords and signatures in addresses, and the given secrets from a text."""
    return hide(mask_addresses(_TOKEN.sub("hf_***", text)), *secrets)


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
