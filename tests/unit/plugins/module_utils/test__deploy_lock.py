# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lock's file says, and who may take it."""

from __future__ import annotations

import json
import typing as t
import unicodedata

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.lock import holder_after, parse, word
from hypothesis import given
from hypothesis import strategies as st

ME = {"run": "boot/1/2/3", "user": "ann", "controller": "laptop"}
OTHER = {"run": "boot/1/4/5", "user": "bob", "controller": "desk", "since": 100.0, "until": 200.0}


def test_what_was_written_is_read() -> None:
    assert parse(json.dumps(OTHER)) == OTHER
    assert parse(json.dumps({**OTHER, "more": 1})) == OTHER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\0\0",
        "hello",
        "1234",
        "[]",
        "null",
        "[" * 4000,
        json.dumps(OTHER)[:-1],
        json.dumps({**OTHER, "run": 5}),
        json.dumps({**OTHER, "user": ""}),
        json.dumps({**OTHER, "user": None}),
        json.dumps({**OTHER, "since": True}),
        json.dumps({**OTHER, "since": "100"}),
        json.dumps({**OTHER, "until": float("nan")}),
        json.dumps({**OTHER, "until": float("inf")}),
        json.dumps({**OTHER, "until": 10**400}),
        json.dumps({name: OTHER[name] for name in OTHER if name != "controller"}),
    ],
)
def test_what_is_torn_or_foreign_is_no_lock(text: str) -> None:
    assert parse(text) is None


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_text_breaks_it(text: str) -> None:
    assert parse(text) is None


@given(st.text(min_size=1))
def test_a_name_stays_on_its_line(name: str) -> None:
    holder = parse(json.dumps({**OTHER, "user": name, "controller": name}))
    assert holder is not None
    assert len(holder["user"].splitlines()) == 1
    assert not any(unicodedata.category(letter) == "Cc" for letter in holder["user"])
    assert holder["controller"] == word(name)


@pytest.mark.parametrize(
    ("held", "dead", "taken"),
    [
        (None, None, True),
        (OTHER, None, False),
        (OTHER, "boot/1/4/6", False),
        (OTHER, OTHER["run"], True),
        ({**OTHER, "until": 150.0}, None, True),  # its lease has ended
        ({**OTHER, "since": 151.0, "until": 900.0}, None, True),  # of an earlier boot
    ],
)
def test_who_takes_it(held: dict[str, t.Any] | None, dead: str | None, taken: bool) -> None:
    after = holder_after(held, ME, 150.0, 60, dead)
    assert after == ({**ME, "since": 150.0, "until": 210.0} if taken else None)


@pytest.mark.parametrize("until", [200.0, 120.0])
def test_renewing_keeps_the_beginning(until: float) -> None:
    after = holder_after({**ME, "since": 100.0, "until": until}, ME, 150.0, 60, None)
    assert after == {**ME, "since": 100.0, "until": 210.0}
