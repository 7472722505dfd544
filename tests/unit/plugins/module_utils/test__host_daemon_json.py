# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import daemon_json
from hypothesis import given
from hypothesis import strategies as st

M = "********"


@pytest.mark.parametrize(
    ("text", "content", "error"),
    [
        (None, None, None),
        ("", {}, None),
        ("\n", {}, None),
        ('{"features": {"cdi": true}}', {"features": {"cdi": True}}, None),
        ('{\n  "a": 1\n  "b": 2\n}\n', None, "line 3 column 3"),
        ("[1]", None, "must be a JSON object, is list"),
        # what a file that is written anew would lose, or what could not be written
        ('{"runtimes": {"a": {}}, "runtimes": {"b": {}}}', None, 'the key "runtimes" is there twice'),
        ('{"a": {"x": 1, "x": 1}}', None, 'the key "x" is there twice'),
        *((f'{{"mtu": {text}}}', None, "is no number of JSON") for text in ("NaN", "-Infinity", "1e999")),
        (f'{{"mtu": {"9" * 5000}}}', None, "not valid JSON"),
        *((f'{{"a": {"[" * deep}{"]" * deep}}}', None, "nest") for deep in (60, 700)),
        ('{"a": "\\ud800"}', None, "half of a surrogate pair"),
        ('{"a": "\udcff"}', None, "not valid UTF-8"),
        ("\ufeff{}", None, "not valid JSON"),
    ],
)
def test_daemon_json(text: str | None, content: daemon_json.Facts | None, error: str | None) -> None:
    parsed, complaint = daemon_json.parse(text)
    assert parsed == content
    assert complaint is None if error is None else error in (complaint or "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://corp:S3cret@proxy:3128", "http://********@proxy:3128"),
        ("http://token@proxy:3128", "http://********@proxy:3128"),
        ("http://corp:S3@cret@proxy:3128", "http://********@proxy:3128"),
        ("corp:S3@cret@proxy:3128", "********@proxy:3128"),
        ("HTTPS_PROXY=corp:S3cret@proxy:3128", "HTTPS_PROXY=********@proxy:3128"),
        ({"x-password": ["S3cret"], "token": 12345, "secret": True}, {"x-password": M, "token": M, "secret": True}),
        ("corp:S3cret@proxy:3128", "********@proxy:3128"),
        (["https://a:b@one", "two"], ["https://********@one", "two"]),
        ({"log-opts": {"splunk-token": "abc", "tag": "x"}}, {"log-opts": {"splunk-token": "********", "tag": "x"}}),
        ({"labels": ["mail=me@example.org"], "mtu": 1400}, {"labels": ["mail=me@example.org"], "mtu": 1400}),
        (None, None),
    ],
)
def test_what_is_shown_holds_no_secret(value: t.Any, shown: t.Any) -> None:
    assert daemon_json.mask(value) == shown
    assert daemon_json.mask(shown) == shown


def test_every_password_of_a_line_is_masked() -> None:
    line = 'unknown: {"http-proxy": "http://a:b@one", "https-proxy": "http://c:d@two"}'
    shown = daemon_json.mask_text(line)
    assert "a:b" not in shown and "c:d" not in shown and "@one" in shown and "@two" in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text() | JSON.map(json.dumps))
def test_any_text_has_an_answer(text: str) -> None:
    content, _error = daemon_json.parse(text)
    daemon_json.mask(content)
