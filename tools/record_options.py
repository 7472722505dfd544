#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the options of `vllm serve` from vLLM's source, without importing it.

    tools/record_options.py SOURCE VERSION > catalog/vllm_options/VERSION.yml

SOURCE is the unpacked source distribution or wheel (the folder that holds vllm/). vLLM builds its parser from the
type hints of its configuration classes: a field that may be a bool becomes a pair --x / --no-x, everything else takes
a value. The same rule is applied here to the syntax tree. `--verify HELP` compares the result with the saved output of
`vllm serve --help=all`.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

Option = dict[str, object]
Classes = dict[str, ast.ClassDef]


def classes_below(folder: Path) -> Classes:
    """Every class that may describe configuration, by name."""
    found: Classes = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, node)
    return found


def fields(cls: ast.ClassDef, classes: Classes) -> dict[str, ast.expr]:
    """The annotated fields of a class and of its bases."""
    result: dict[str, ast.expr] = {}
    for base in cls.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            result.update(fields(classes[base.id], classes))
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not _is_class_var(node.annotation):
            result[node.target.id] = node.annotation
    return result


def _is_class_var(annotation: ast.expr) -> bool:
    return "ClassVar" in ast.unparse(annotation)


def members(annotation: ast.expr) -> set[str]:
    """The alternatives of a type hint: Optional[bool] -> {bool, None}."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return members(ast.parse(annotation.value, mode="eval").body)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return members(annotation.left) | members(annotation.right)
    if isinstance(annotation, ast.Subscript):
        outer = ast.unparse(annotation.value).rsplit(".", 1)[-1]
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if outer == "Optional":
            return members(inner[0]) | {"None"}
        if outer == "Union":
            return set().union(*(members(item) for item in inner))
        if outer in ("Annotated", "SkipValidation", "InitVar"):
            return members(inner[0])
        return {outer}
    return {ast.unparse(annotation)}


def kind_of(annotation: ast.expr) -> Option:
    """What vLLM's parser makes of a field."""
    hints = members(annotation)
    if hints == {"bool", "str", "None"}:
        return {"kind": "value", "bare": True}
    if "bool" in hints:
        return {"kind": "flag", "negatable": True}
    return {"kind": "value"}


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in call.keywords if item.arg == name), None)


class Recorder:
    def __init__(self, package: Path) -> None:
        self.classes = classes_below(package / "config") if (package / "config").is_dir() else {}
        self.options: dict[str, Option] = {}

    def function(self, node: ast.FunctionDef) -> None:
        """Every add_argument() of one function that fills the parser."""
        tables: dict[str, str] = {}  # model_kwargs -> ModelConfig
        single: dict[str, ast.expr] = {}  # moe_backend_kwargs -> its annotation
        for statement in ast.walk(node):
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name, value = statement.targets[0].id, statement.value
                if isinstance(value, ast.Call) and ast.unparse(value.func) == "get_kwargs":
                    tables[name] = ast.unparse(value.args[0])
                elif isinstance(value, ast.Subscript):
                    annotation = self._lookup(value, tables)
                    if annotation is not None:
                        single[name] = annotation
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
                self._argument(call, tables, single)

    def _lookup(self, node: ast.Subscript, tables: dict[str, str]) -> ast.expr | None:
        """The annotation behind model_kwargs["dtype"] or get_kwargs(VllmConfig)["logging_config"]."""
        source = node.value
        owner = tables.get(ast.unparse(source))
        if owner is None and isinstance(source, ast.Call) and ast.unparse(source.func) == "get_kwargs":
            owner = ast.unparse(source.args[0])
        if owner is None or not isinstance(node.slice, ast.Constant):
            return None
        return fields(self.classes[owner], self.classes)[str(node.slice.value)]

    def _argument(self, call: ast.Call, tables: dict[str, str], single: dict[str, ast.expr]) -> None:
        names = [
            item.value for item in call.args if isinstance(item, ast.Constant) and str(item.value).startswith("--")
        ]
        if not names:
            return  # a positional argument, or the loop over the front end's fields
        option: Option = {"kind": "value"}
        action = _keyword(call, "action")
        if action is not None and "BooleanOptionalAction" in ast.unparse(action):
            option = {"kind": "flag", "negatable": True}
        elif isinstance(action, ast.Constant) and action.value in ("store_true", "store_false"):
            option = {"kind": "flag"}
        elif (nargs := _keyword(call, "nargs")) is not None and ast.unparse(nargs) == "'?'":
            option = {"kind": "value", "bare": True}
        else:
            for keyword in call.keywords:
                if keyword.arg is None:  # **model_kwargs["dtype"]
                    option = kind_of(self._spread(keyword.value, tables, single, str(names[0])))
        for name in names:
            self._add(str(name)[2:], {**option, **({"alias_of": str(names[0])[2:]} if name != names[0] else {})})

    def _spread(self, node: ast.expr, tables: dict[str, str], single: dict[str, ast.expr], option: str) -> ast.expr:
        """The annotation behind **model_kwargs["dtype"], **moe_backend_kwargs or **{**model_kwargs["dtype"], ...}."""
        for part in ast.walk(node):
            annotation = (
                self._lookup(part, tables) if isinstance(part, ast.Subscript) else single.get(ast.unparse(part))
            )
            if annotation is not None:
                return annotation
        raise SystemExit(f"record_options: cannot follow **{ast.unparse(node)} of {option}")

    def front_end(self, cls: ast.ClassDef, classes: Classes) -> None:
        """vLLM adds every field of FrontendArgs as an option."""
        for name, annotation in fields(cls, classes).items():
            self._add(name.replace("_", "-"), kind_of(annotation))

    def _add(self, name: str, option: Option) -> None:
        self.options[name] = option


def record(source: Path) -> dict[str, Option]:
    package = source / "vllm"
    recorder = Recorder(package)
    engine = ast.parse((package / "engine/arg_utils.py").read_text(encoding="utf-8"))
    for cls in (
        node
        for node in engine.body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
    ):
        for node in cls.body:
            if isinstance(node, ast.FunctionDef) and node.name == "add_cli_args":
                recorder.function(node)
    path = next(
        path
        for path in sorted((package / "entrypoints").rglob("cli_args.py"))
        if "FrontendArgs" in path.read_text(encoding="utf-8")
    )
    front = ast.parse(path.read_text(encoding="utf-8"))
    local = {node.name: node for node in front.body if isinstance(node, ast.ClassDef)}
    recorder.front_end(local["FrontendArgs"], local)
    for node in front.body:
        if isinstance(node, ast.FunctionDef) and node.name == "make_arg_parser":
            recorder.function(node)
    return recorder.options


def from_help(text: str) -> dict[str, bool]:
    """Long options of a saved help text, and whether each has a --no- form."""
    columns = [line.strip().partition("  ")[0] for line in re.findall(r"^  -[^\n]*", text, re.M)]
    names = {name for column in columns for name in re.findall(r"--([a-z0-9][a-z0-9-]*)", column)}
    return {
        name: f"no-{name}" in names
        for name in names
        if name != "help" and not (name.startswith("no-") and name[3:] in names)
    }


def dump(version: str, options: dict[str, Option]) -> str:
    lines = [
        "---",
        f"# Options of `vllm serve` in vLLM {version}, recorded from its source. Do not edit.",
        "# Made with: tools/record_options.py SOURCE " + version,
        "# kind flag: takes no value; negatable: has a --no- form. kind value: takes a value; bare: may stand alone.",
        f"vllm: {version}",
        "options:",
    ]
    for name in sorted(options):
        extra = "".join(f", {key}: {str(value).lower()}" for key, value in options[name].items() if key != "kind")
        lines.append(f"  - {{name: {name}, kind: {options[name]['kind']}{extra}}}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("version")
    parser.add_argument(
        "--verify", type=Path, metavar="HELP", help="a saved `vllm serve --help=all` of the same version"
    )
    args = parser.parse_args()
    options = record(args.source)
    if args.verify is None:
        sys.stdout.write(dump(args.version, options))
        return 0
    wanted = from_help(args.verify.read_text(encoding="utf-8"))
    found = {name: bool(option.get("negatable")) for name, option in options.items()}
    different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    for name in different:
        print(f"--{name}: help {wanted.get(name)}, source {found.get(name)}")
    print(f"{len(found)} options, {len(different)} differences")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
