# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what Ansible compiles for the runs that a process forks: templates, expressions, and a collection's Python.

It compiles a template each time that it meets it, a third of what a play of many small tasks takes.
"""

from __future__ import annotations

import builtins
import contextlib
import marshal
import tempfile
import types
import typing as t

from ansible._internal._templating import _jinja_bits
from ansible.utils.collection_loader import _collection_finder
from jinja2.environment import TemplateExpression

Key = tuple[t.Any, ...]
_Context = _jinja_bits._TemplateCompileContext
_compile = _jinja_bits.AnsibleEnvironment.compile
_compile_expression = _jinja_bits.AnsibleEnvironment.compile_expression


def _key(environment: _jinja_bits.AnsibleEnvironment, kind: str, source: str) -> Key:
    """All that the code depends on; the configuration is that of the process."""
    context = _Context.current(optional=True)
    fields = [getattr(environment, name) for name in _jinja_bits._TEMPLATE_OVERRIDE_FIELD_NAMES]
    plain = [str(field) if isinstance(field, str) else field for field in (source, *fields)]  # Ansible tags its texts
    return (kind, context.escape_backslashes if context else None, *plain)


class Compiled:
    """Code by what it was compiled from. A fork leaves what it has added in a file for those after it."""

    def __init__(self) -> None:
        self._known: dict[Key, types.CodeType] = {}
        self._new: list[tuple[Key, types.CodeType]] = []
        self._last: types.CodeType | None = None
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        environment = _jinja_bits.AnsibleEnvironment
        environment.compile = lambda *args, **options: self._template(*args, **options)
        environment.compile_expression = lambda *args, **options: self._expression(*args, **options)
        vars(_collection_finder)["compile"] = self._python

    def take_in(self) -> None:
        """What the last fork has added."""
        self._file.seek(0)
        with contextlib.suppress(EOFError, TypeError, ValueError):  # it added nothing, or was killed
            self._known.update(marshal.loads(self._file.read()))
        self._file.seek(0)
        self._file.truncate()

    def leave(self) -> None:
        self._file.seek(0)
        self._file.write(marshal.dumps(self._new))
        self._file.flush()

    def _code(self, key: Key, compiled: t.Callable[[], types.CodeType]) -> types.CodeType:
        code = self._known.get(key)
        if code is None:
            code = self._known[key] = compiled()
            self._new.append((key, code))
        return code

    def _template(self, environment: t.Any, source: t.Any, *where: t.Any, **options: t.Any) -> t.Any:
        if where or options or not isinstance(source, str):  # of a file, or a tree: an expression's is one
            self._last = _compile(environment, source, *where, **options)
            return self._last
        return self._code(_key(environment, "template", source), lambda: _compile(environment, source))

    def _expression(self, environment: t.Any, source: str, undefined_to_none: bool = True) -> TemplateExpression:
        def compiled() -> types.CodeType:
            _compile_expression(environment, source, undefined_to_none)
            return t.cast("types.CodeType", self._last)

        code = self._code(_key(environment, "expression", source), compiled)
        template = environment.template_class.from_code(environment, code, environment.make_globals(None), None)
        return TemplateExpression(template, undefined_to_none)

    def _python(self, source: str | bytes, filename: str, **options: t.Any) -> types.CodeType:
        # not by its path, which a copy of this collection has of its own; a traceback may name that of another copy
        return self._code(("python", source), lambda: builtins.compile(source, filename, **options))
