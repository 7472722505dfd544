# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects and shapes the hosts of a health report with a JMESPath expression."""

from __future__ import annotations

import difflib
import re
import typing as t

try:
    import jmespath
    from jmespath.exceptions import JMESPathError
    from jmespath.functions import Functions
except ImportError:  # a package of its own, which ansible-core does not bring
    jmespath = None

NAME = "health_query"  # of the variable, for the messages, unless a caller has another


class QueryError(Exception):
    """What is wrong with the expression; the message is for the user."""


def check(expression: str, name: str = NAME) -> None:
    """Refuses what can be told to be wrong without data."""
    if jmespath is None:
        raise QueryError(f"{name}: it needs the Python library jmespath on the controller; run: pip install jmespath")
    try:
        parsed = jmespath.compile(expression).parsed
    except JMESPathError as error:
        raise QueryError(f"{name}: {expression!r} is not a JMESPath expression: {_reason(error)}") from None
    for function, arguments in _calls(parsed):
        known = Functions.FUNCTION_TABLE.get(function)
        if known is None:
            close = difflib.get_close_matches(function, Functions.FUNCTION_TABLE, n=1)
            hint = f"; did you mean {close[0]}()?" if close else ""
            raise QueryError(f"{name}: {function}() is not a function of JMESPath{hint}")
        signature = known["signature"]
        is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
        if arguments < len(signature) or (arguments > len(signature) and not is_variadic):
            wanted = f"{len(signature)} or more" if is_variadic else len(signature)
            raise QueryError(f"{name}: the number of arguments of {function}() is {wanted}, not {arguments}")


def apply(expression: str, rows: list[t.Any], name: str = NAME) -> t.Any:
    check(expression, name)
    try:
        return jmespath.search(expression, rows)
    except JMESPathError as error:
        raise QueryError(f"{name}: {expression!r} does not fit the report: {_reason(error)}") from None


def nothing(expression: str, rows: list[t.Any], what: str, name: str = NAME) -> str:
    """That an expression gave null; with the one that is meant, if only the step into the list misses."""
    each = f"[].{expression}"
    try:
        is_near = bool(apply(each, rows, name))
    except QueryError:
        is_near = False
    why = f", because it is applied to the list of {what} as a whole; did you mean {each!r}?" if is_near else ""
    return f"{name}: {expression!r} selects nothing{why}"


def _calls(node: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, int]]:
    """Functions that the expression calls, with how many arguments."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    for child in node["children"]:
        yield from _calls(child)


def _reason(error: Exception) -> str:
    """In one line; the library draws an arrow below the expression."""
    first = re.sub(r"^(?:Invalid|Bad) jmespath expression: ", "", str(error).splitlines()[0], flags=re.IGNORECASE)
    where = re.search(r": Parse error at column (\d+)", first)
    problem = first[: where.start()] if where else first.rstrip(" :.")
    return f"{problem} at column {where[1]}" if where else problem


def whole(value: str, extra_variables: t.Iterable[str], name: str = NAME) -> str:
    """The expression as it stands on the command line.

    Of `-e "health_query=[].{host: host, cause: cause.id}"` Ansible takes the part before the first space for the value,
    and the rest for other variables. EXTRA_VARIABLES are the options -e; VALUE is what Ansible has made of them.
    """
    for text in reversed(list(extra_variables)):
        found = re.search(rf"(?:^|\s)(?:vllm_)?{name}=(.*)", text, re.DOTALL)
        if found:  # the last one wins
            is_cut = found[1].startswith(value) and (is_valid(found[1]) or not is_valid(value))
            return found[1].strip() if is_cut else value
    return value


def is_valid(expression: str) -> bool:
    try:
        check(expression)
    except QueryError:
        return False
    return True
