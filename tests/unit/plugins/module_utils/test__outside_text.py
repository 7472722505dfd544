# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that somebody else wrote may do anything to the terminal on which it is read."""

from __future__ import annotations

import json

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain, plain_lines
from hypothesis import given
from hypothesis import strategies as st

FORBIDDEN = {
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
    *"\u2028\u2029",
}
TEXT = st.lists(st.sampled_from([*FORBIDDEN, "\x1b[", "\x1b]52;c;", "\x1b\\", "\ud800", "é", "x", " "])).map("".join)


@given(st.text() | TEXT)
def test_no_control_character_is_left(text: str) -> None:
    assert not FORBIDDEN & set(plain(text))
    assert not (FORBIDDEN - {"\n", "\t"}) & set(plain_lines(text))
    assert plain(plain(text)) == plain(text)
    json.dumps(plain(text)).encode()
    plain(text).encode()


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("äß█…→中👩‍💻")))
def test_what_people_write_stays(text: str) -> None:
    assert plain(text) == plain_lines(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("boom \x1b]0;owned\x07\x1b]52;c;cm0gLXJmIH4K\x07.", "boom ."),
        ("boom \x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "boom link"),
        ("\x9d0;owned\x9cx", "x"),
        ("\x1bP+q\x1b\\x", "x"),
        ("\x1bcx", "x"),
        ("\x1b]0;never ends", ""),
        ("a\x1b", "a"),
        ("a\u202eb\u2066c", "abc"),
        ("one\r\ntwo\u2028three\x85four\tfive", "one two three four five"),
        ("a\x08b\x7fc\x00", "abc"),
    ],
)
def test_sequences_go_as_a_whole(text: str, left: str) -> None:
    assert plain(text) == left


def test_lines_stay_lines() -> None:
    assert plain_lines("one\n\ttwo\x1b]0;owned\nthree\x0bfour") == "one\n\ttwo\nthree four"


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[", "\x1b[;", "\x9d", "\x1b", "\r\n", "é\x1b]a"])
def test_no_text_takes_long(piece: str) -> None:
    plain(piece * 200_000)
    plain_lines(piece * 200_000)
