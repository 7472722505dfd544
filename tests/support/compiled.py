# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-playbook compiles, kept: each template each time, and in each run the collection's modules and catalog.

A third of a long run was that. The result depends on what it is made of, and on nothing else; errors are not kept.
"""

from __future__ import annotations

import io
import marshal
import pickle
import types
import typing as t

import yaml
from ansible._internal._templating._jinja_bits import AnsibleEnvironment, _TemplateCompileContext
from ansible.utils.collection_loader import _collection_finder
from jinja2.environment import TemplateExpression

Key = tuple[t.Any, ...]
# What code depends on beside the template itself: the lexer of Jinja is kept by the same.
SYNTAX = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix", "line_comment_prefix"),
    *("trim_blocks", "lstrip_blocks", "newline_sequence", "keep_trailing_newline"),
)

SAFE = (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader))

_kept: dict[Key, t.Any] = {}
_learned: dict[Key, t.Any] = {}
_of_trees: list[t.Any] = []
_compile, _compile_expression = AnsibleEnvironment.compile, AnsibleEnvironment.compile_expression
_load = yaml.load
_get_code = _collection_finder._AnsibleCollectionPkgLoaderBase.get_code


def learned() -> bytes:
    """What this process had to compile itself."""
    return marshal.dumps(_learned)


def learn(learned: bytes) -> None:
    """What another one had to."""
    _kept.update(marshal.loads(learned))


def _remember(key: Key, make: t.Callable[[], t.Any]) -> t.Any:
    if key not in _kept:
        _kept[key] = _learned[key] = make()
    return _kept[key]


def _syntax(environment: AnsibleEnvironment) -> Key:
    context = _TemplateCompileContext.current(optional=True)
    return bool(context and context.escape_backslashes), *(getattr(environment, name) for name in SYNTAX)


def _template(self: AnsibleEnvironment, source: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
    if args or kwargs or not isinstance(source, str):
        code = _compile(self, source, *args, **kwargs)
        _of_trees.append(code)
        return code
    return _remember(("template", str(source), *_syntax(self)), lambda: _compile(self, source))


def _expression(self: AnsibleEnvironment, source: str, undefined_to_none: bool = True) -> TemplateExpression:
    def make() -> t.Any:
        """Jinja makes the tree of a template of it, and keeps that one's code to itself."""
        _of_trees.clear()
        _compile_expression(self, source)
        return _of_trees.pop()

    code = _remember(("expression", str(source), *_syntax(self)), make)
    template = self.template_class.from_code(self, code, self.make_globals(None), None)
    return TemplateExpression(template, undefined_to_none)


def _module(self: t.Any, fullname: str) -> types.CodeType | None:
    source = self.get_source(fullname)
    if source is None:
        return None
    return t.cast(types.CodeType, _remember((fullname, source), lambda: _get_code(self, fullname)))


def _parsed(stream: t.Any, Loader: t.Any) -> t.Any:
    if Loader not in SAFE or not isinstance(stream, io.BufferedReader):
        return _load(stream, Loader)
    text = stream.read()
    stream.seek(0)  # for an error, which names the file
    return pickle.loads(_remember(("yaml", text), lambda: pickle.dumps(_load(stream, Loader))))


def keep() -> None:
    """From now on."""
    yaml.load = _parsed
    AnsibleEnvironment.compile = _template
    AnsibleEnvironment.compile_expression = _expression
    _collection_finder._AnsibleCollectionPkgLoaderBase.get_code = _module
