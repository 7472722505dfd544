# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of what is around the model: parsers of its answers, chat templates, structured output."""

from __future__ import annotations

from ..entries import Signature

PARSERS: tuple[Signature, ...] = (
    Signature(
        "parser_unknown",
        "fatal",
        "option",
        ("invalid tool call parser", "invalid reasoning parser", "tool parser", "reasoning parser"),
        r"invalid (?P<kind>tool call|reasoning) parser: (?P<name>\S+)(?: \(chose from \{(?P<names>[^}]{1,300}))?"
        r"|(?P<what>Tool|Reasoning) parser:? '?(?P<name_2>[\w.-]+)'? (?:not found|is not registered)"
        r"(?:.{0,40}?(?:Available(?: parsers)?|registered):? ?(?P<names_2>[^\n]{1,300}))?",
        "this vLLM does not know the parser {name} (tool_call_parser or reasoning_parser)",
        "set tool_call_parser (or reasoning_parser) in vllm_extra_args to one that it knows"
        " ({names}), or use a newer vllm_image",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="public log; vllm/entrypoints/openai/tool_parsers",
    ),
    Signature(
        "parser_plugin",
        "exit",
        "option",
        ("failed to load module",),
        r"Failed to load module '(?P<name>[^'\n]{1,120})' from (?P<path>[^\s']{1,300}?)\.?$",
        "the parser plugin {path} could not be imported, so its parser is unknown",
        "correct the file that tool_parser_plugin (or reasoning_parser_plugin) in vllm_extra_args names: it was"
        " written for"
        " another vLLM, or needs a package that the image lacks; or drop it and set a parser that this vLLM has",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="vllm/tool_parsers/abstract_tool_parser.py",
        refines=("parser_unknown",),
    ),
    Signature(
        "middleware",
        "fatal",
        "option",
        ("no module named", "invalid middleware", "has no attribute"),
        r"ModuleNotFoundError: No module named '(?P<name>[\w.]{1,120})'|Invalid middleware (?P<name_2>[\w.]{0,119}\w)"
        r"|module '(?P<name_3>[\w.]{1,120})' has no attribute",
        "vLLM cannot import what middleware in vllm_extra_args names ({name})",
        "correct middleware in vllm_extra_args (module.name, as Python imports it in the container), or drop it;"
        " vllm_mounts adds the file to the container, PYTHONPATH in vllm_extra_env names its folder",
        versions="vLLM 0.9 to 0.33",
        known="report",
        source="vllm-project/vllm#21219; vllm/entrypoints/openai/api_server.py",
        frames=r":build_app: [^\n]*import_module|:build_app: raise ",
    ),
    Signature(
        "parser_tokens",
        "fatal",
        "option",
        ("could not locate",),
        r"(?:(?P<name>\w{1,60}) )?(?P<kind>[Rr]easoning|[Tt]ool) parser could not locate (?P<tokens>[\w ]{1,40}?)"
        r" ?(?:start/end )?tokens",
        "the parser is not the one of this model: its tokenizer has no such tokens ({kind} parser)",
        "set reasoning_parser or tool_call_parser in vllm_extra_args to the one of the model's card, or drop it with"
        " `null`; the model serves without a parser",
        versions="vLLM 0.8 to 0.33",
        known="report",
        source="vllm-project/recipes#515, vllm-project/vllm#38674",
    ),
    Signature(
        "chat_template",
        "fatal",
        "option",
        ("chat template", "chat_template", ".jinja"),
        r"The supplied chat template (?:string )?\(?(?P<path>[^)\n]{1,300}?)\)? (?:looks like a file path"
        r"|appears path-like|is not|does not).{0,200}|No such file or directory: '(?P<path_2>[^']{1,300}\.jinja2?)'"
        r"|chat template .{0,200}?(?:does not exist|failed to be opened|cannot be opened)",
        "the chat template cannot be opened: {path}",
        "correct chat_template in vllm_extra_args: it is a path in the container, which sees the cache folder of"
        " vllm_home as /root/.cache and hf_cache_path as /root/.cache/huggingface; or remove it to use the model's own",
        versions="vLLM 0.8 to 0.32",
        known="report",
        source="vllm/entrypoints/chat_utils.py",
    ),
    Signature(
        "chat_template_syntax",
        "fatal",
        "option",
        ("templatesyntaxerror", "templateassertionerror", "templatenotfound", "templatesnotfound"),
        r"\bTemplate(?:SyntaxError|AssertionError|s?NotFound)(?:: (?P<detail>[^\n]{1,160}))?",
        "the chat template is not valid Jinja: {detail}",
        "correct the file that chat_template in vllm_extra_args names, or remove chat_template to use the model's own;"
        " if that one is broken, use another checkpoint (vllm_model)",
        versions="vLLM 0.10 to 0.33",
        known="report",
        source="runpod-workers/worker-vllm#129, vllm-project/vllm#17821",
    ),
    Signature(
        "structured_output_backend",
        "fatal",
        "option",
        ("structured output", "structured_output", "guided_decoding"),
        r"(?:structured[ _]outputs?|guided_decoding)[ _](?:backend|config).{0,120}?(?:not supported|invalid|must"
        r"|unknown|requires)",
        "the backend for structured output does not run with these options",
        "remove structured_outputs_config (or guided_decoding_backend) from vllm_extra_args, or use a newer vllm_image",
        versions="vLLM 0.8 to 0.32",
        known="source",
        source="vllm/config/structured_outputs.py",
    ),
)
