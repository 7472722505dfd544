# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image's own `vllm serve` says to command lines, without starting anything.

    docker run --rm -i --network none --volume ./parse_arguments.py:/parse_arguments.py:ro \
      --entrypoint python3 IMAGE /parse_arguments.py <<< '[["MODEL", "--max-model-len", "8k"]]'

Reads a JSON list of word lists, each what follows `vllm serve`, from stdin or from the file that is named. Writes a
JSON list: null where the words are accepted, the error's text where they are not. Nothing else reaches stdout.
It needs no GPU and no network, and works with vLLM 0.10 and newer, on the image's own Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import typing as t


def make_parser() -> tuple[t.Any, t.Callable[[t.Any], None]]:
    """The parser of the command `vllm`, as its main() makes it, and all checks that come before the engine."""
    from vllm import platforms

    if not platforms.current_platform.device_type:  # no GPU: old versions would refuse to make a parser
        from vllm.platforms.cpu import CpuPlatform

        platforms.current_platform = CpuPlatform()

    from vllm.entrypoints.cli.serve import cmd_init

    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:  # 0.10
        from vllm.utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm")
    (command,) = cmd_init()
    command.subparser_init(parser.add_subparsers(dest="subparser"))
    check_parsers = find_check()

    def check(args: t.Any) -> None:
        command.validate(args)
        if getattr(args, "tool_parser_plugin", None) or getattr(args, "reasoning_parser_plugin", None):
            return  # names from files that need not be here
        nested: t.Any = getattr(args, "structured_outputs_config", None)
        # vLLM copies it, too, but only for its engine
        if hasattr(nested, "__dataclass_fields__") and args.reasoning_parser:
            args.structured_outputs_config = dataclasses.replace(nested, reasoning_parser=args.reasoning_parser)
        check_parsers(args)

    return parser, check


def find_check() -> t.Callable[[t.Any], None]:
    """The server's check of --reasoning-parser and --tool-call-parser. It has moved with the versions."""
    for name in ("vllm.entrypoints.launchers.launcher", "vllm.entrypoints.openai.api_server"):
        with contextlib.suppress(ImportError):
            module = __import__(name, fromlist=["validate_api_server_args"])
            if hasattr(module, "validate_api_server_args"):
                return t.cast("t.Callable[[t.Any], None]", module.validate_api_server_args)
    return lambda args: None


def problem(parser: t.Any, check: t.Callable[[t.Any], None], words: list[str]) -> str | None:
    """The error's text, on one line, or None."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            check(parser.parse_args(["serve", *words]))
    except SystemExit:  # argparse prints the usage, then `vllm serve: error: TEXT`
        text = said.getvalue()
        error = text.rpartition(": error: ")[2] if ": error: " in text else "asks for a text instead of serving"
    except Exception as raised:  # KeyError and ValueError of the checks
        error = str(raised.args[0] if raised.args else raised) or type(raised).__name__
    else:
        return None
    return " ".join(error.split())


def main() -> int:
    # vLLM logs to stdout, also from C: what it writes goes to stderr
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf-8") as stream:
            lists = json.load(stream)
    else:
        lists = json.load(sys.stdin)
    sys.argv = ["vllm", "serve"]  # vLLM looks at it while it makes the parser
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    parser, check = make_parser()
    json.dump([problem(parser, check, words) for words in lists], answer)
    answer.write("\n")
    answer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
