# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible.parsing.splitter import parse_kv
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import query
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.query import (
    QueryError,
    apply,
    check,
    nothing,
    whole,
)

HOSTS = [
    {"host": "a", "verdict": "ready", "cause": None, "running": 3},
    {"host": "b", "verdict": "failed", "cause": {"id": "stopped"}, "running": None},
]
EXAMPLE = "[?verdict!='ready'].{host: host, cause: cause.id}"


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        (EXAMPLE, [{"host": "b", "cause": "stopped"}]),
        ("[].cause.id", ["stopped"]),
        ("length(@)", 2),
        ("[?verdict=='ready'] | [0].host", "a"),
        ("[?nothing]", []),
        ("sort_by([?running], &running)[].host", ["a"]),
        ("merge([0], {x: `1`}).x", 1),  # as many arguments as one likes
    ],
)
def test_selection(expression: str, selected: object) -> None:
    assert apply(expression, HOSTS) == selected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "[?verdict!='ready'",
            "health_query: \"[?verdict!='ready'\" is not a JMESPath expression: Incomplete expression",
        ),
        ("a b", "health_query: 'a b' is not a JMESPath expression: Unexpected token: b at column 2"),
        ("[?a='b']", "Unknown token '='"),
        ("[].{host: }", "invalid token at column 10"),
        ("", "cannot be empty"),
        ("lenght(@)", "health_query: lenght() is not a function of JMESPath; did you mean length()?"),
        ("[].xyzzy(@)", "health_query: xyzzy() is not a function of JMESPath"),
        ("[?x].sort_by(@)", "health_query: the number of arguments of sort_by() is 2, not 1"),
        ("not_null()", "health_query: the number of arguments of not_null() is 1 or more, not 0"),
    ],
)
def test_what_is_wrong_is_told_without_data(expression: str, said: str) -> None:
    with pytest.raises(QueryError) as refused:
        check(expression)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_does_not_fit_the_report_is_one_line() -> None:
    with pytest.raises(QueryError) as refused:
        apply("sum(@)", HOSTS)
    assert str(refused.value).startswith(
        "health_query: 'sum(@)' does not fit the report: In function sum(), invalid type"
    )
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("expression", "rows", "hint"),
    [
        ("host", HOSTS, "did you mean '[].host'?"),
        ("cause.id", HOSTS, "did you mean '[].cause.id'?"),
        ("hosts[?running].host", HOSTS, ""),
        ("xyzzy", HOSTS, ""),
        ("max_by([?verdict=='none'], &running).host", HOSTS, ""),  # rightly, if all is well
        ("host", [], ""),
    ],
)
def test_what_selects_nothing_says_so_and_why_if_that_is_known(expression: str, rows: list[t.Any], hint: str) -> None:
    assert apply(expression, rows) is None
    why = f", because it is applied to the list of hosts as a whole; {hint}" if hint else ""
    assert nothing(expression, rows, "hosts") == f"health_query: {expression!r} selects nothing{why}"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "jmespath", None)
    with pytest.raises(QueryError) as refused:
        check("[]")
    assert str(refused.value) == (
        "health_query: it needs the Python library jmespath on the controller; run: pip install jmespath"
    )


@pytest.mark.parametrize(
    ("options", "expression"),
    [
        ([f"health_query={EXAMPLE}"], EXAMPLE),
        ([f"vllm_health_query={EXAMPLE}"], EXAMPLE),
        ([f"a=1 health_query={EXAMPLE}", "b=2"], EXAMPLE),
        (["health_query=[?a=='x' && b=='y z']"], "[?a=='x' && b=='y z']"),
        (["health_query=[0] | host"], "[0] | host"),  # its first word is an expression too
        ([f"health_query='{EXAMPLE}'"], EXAMPLE),
        (["health_query=[] vllm_health_file=x.json"], "[]"),
        (["health_query=[].host", f"health_query={EXAMPLE}"], EXAMPLE),
        ([f"health_query={EXAMPLE}", "health_query=[].host"], "[].host"),
        (["health_query=[].{a: host}", "health_query=[]"], "[]"),
        (["health_query=[?a b"], "[?a b"),  # wrong, and told as it was written
        (['{"health_query": "[]"}'], "[]"),
        (["other=1"], ""),
        ([], ""),
    ],
)
def test_the_command_line_needs_no_more_quotes(options: list[str], expression: str) -> None:
    value = ""
    for option in options:
        variables = {"health_query": "[]"} if option.startswith("{") else parse_kv(option)
        value = variables.get("health_query", variables.get("vllm_health_query", value))
    assert whole(value, options) == expression
