# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a role as a play has them, in the role and outside of it."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError
from ansible.template import trust_as_template

from .._common.plain import plain
from .specs import Options

Variables = t.Mapping[str, t.Any]


def with_defaults(options: Options, variables: Variables) -> dict[str, t.Any]:
    """A role that was not loaded has no defaults: those of its specification stand in, templates included."""
    defaults = {
        name: trust_as_template(option["default"]) if isinstance(option["default"], str) else option["default"]
        for name, option in options.items()
        if option.get("default") is not None
    }
    return {**defaults, **variables}


def read_variables(
    names: t.Iterable[str], variables: Variables, templar: t.Any
) -> tuple[dict[str, t.Any], dict[str, AnsibleError]]:
    """The plain values, and why others cannot be read."""
    templar = templar.copy_with_new_env(available_variables=variables)
    values: dict[str, t.Any] = {}
    errors: dict[str, AnsibleError] = {}
    for name in names:
        try:
            values[name] = plain(templar.template(variables[name]))
        except AnsibleError as error:
            errors[name] = error
    return values, errors
