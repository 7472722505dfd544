# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of options that no version of vLLM reads. The plan would take them for nothing. Pure.

S: vllm/engine/arg_utils.py of 0.32, whose types hold for all recorded versions. Of the numbers, those that the memory
depends on or that are often set. In doubt a value is let through: vLLM refuses it too, and nobody could override a
wrong refusal.
"""

from __future__ import annotations

import datetime
import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import real

from .._common.text import placeholder, show
from .drafting import misspelled
from .vllm_options import DRAFTS, argument, integer, of_json, speculative_of, tokens_of

# The least whole number, if there is one.
_WHOLE: t.Mapping[str, int | None] = {
    **dict.fromkeys(("max_num_seqs", "block_size", "num_gpu_blocks_override", "stream_interval", "max_loras"), 1),
    "max_lora_rank": 1,
    **dict.fromkeys(("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nnodes"), 1),
    **dict.fromkeys(("decode_context_parallel_size", "prefill_context_parallel_size", "api_server_count"), 1),
    **dict.fromkeys(("long_prefill_token_threshold", "data_parallel_size_local"), 0),
    "max_logprobs": -1,
    "seed": None,
}
# Above 0, and a unit may follow: 16k is 16000, 16K is 16384.
_SIZES = ("max_model_len", "max_num_batched_tokens", "kv_cache_memory_bytes")
_FITTING = ("auto", "-1")
_UNSET = ("", "None")  # as vLLM reads them, where these options have no other default
_OPTIONAL = (
    *("quantization", "tool_call_parser", "attention_backend", "seed", "num_gpu_blocks_override"),
    *("kv_cache_memory_bytes", "kv_offloading_size", "speculative_config", "kv_transfer_config", "kv_events_config"),
    *("mm_processor_kwargs", "pooler_config", "reasoning_config"),
)
_GIB = ("cpu_offload_gb", "kv_offloading_size", "mm_processor_cache_gb")
_LISTS = ("cudagraph_capture_sizes",)  # of whole numbers
_NAMES = ("quantization", "tool_call_parser", "reasoning_parser", "revision", "load_format", "attention_backend")
# What no version has as a method of quantization. The format of a checkpoint need not be said.
_NO_METHODS = ("nvfp4", "fp4", "int4", "int8", "4bit", "8bit", "w4a16", "w8a8", "bf16", "bfloat16")
_TEMPLATES = ("chat_template",)  # whose text may have such words of its own
# A mapping, with an example.
_MAPPINGS = {
    "speculative_config": "method: mtp, num_speculative_tokens: 3",
    "limit_mm_per_prompt": "image: 2, video: 0",
    "override_generation_config": "temperature: 0.6",
    "default_chat_template_kwargs": "enable_thinking: false",
    "hf_overrides": "max_position_embeddings: 65536",
    "kv_transfer_config": "kv_connector: OffloadingConnector, kv_role: kv_both",
    "compilation_config": "cudagraph_mode: FULL_DECODE_ONLY",
    **dict.fromkeys(("mm_processor_kwargs", "media_io_kwargs", "pooler_config", "attention_config"), "NAME: VALUE"),
    **dict.fromkeys(("structured_outputs_config", "kv_events_config", "profiler_config"), "NAME: VALUE"),
    **dict.fromkeys(("additional_config", "reasoning_config", "eplb_config", "rope_scaling"), "NAME: VALUE"),
}
_LEVEL = re.compile(r"[0-3]")  # which compilation_config may be in older versions
_DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
_SHORT_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "f16": "float16", "fp32": "float32", "f32": "float32"}
_CACHE_DTYPE = re.compile(r"auto$|b?float|half$|fp8")
_START = re.compile(r"\s*(\d+)((?:\.\d+)?)\s*([kKmMgG]?)")


def wrong_value(name: str, value: t.Any) -> str | None:
    """What is wrong with a value, and what to write; None if nothing is known to be."""
    if value is None or (name in _OPTIONAL and value in _UNSET):
        return None
    if date := next(_dates(value), None):
        return f"{show(date)} is a date to YAML; write it in quotes"
    read = of_json(value) if isinstance(value, str) and value.lstrip().startswith("{") else None
    if name not in _TEMPLATES and (unfilled := placeholder(value if read is None else read)):
        return unfilled
    if name in _MAPPINGS:
        return _mapping(name, value)
    if name in ("dtype", "kv_cache_dtype"):
        return _type(name, value)
    if name in _WHOLE:
        return _whole(value, _WHOLE[name])
    if name in _LISTS:
        return _numbers(name, value)
    if name in _NAMES:
        return _name(name, value)
    if name == "lora_modules":
        return _adapters(value)
    if isinstance(value, list) and None in value:
        return "holds null; remove it from the list"
    if name == "max_model_len" and fits(value):
        return None
    if name == "kv_cache_memory_bytes" and tokens_of(value) == 0:  # as if it were not given
        return None
    if name in _SIZES and not (tokens_of(value) or 0) > 0:
        units = ", or one with k (1000) or K (1024), M or G" if isinstance(value, str) else ""
        return f"{show(value)} is not allowed; use a whole number above 0{units}{_such_as(value)}"
    if name in _GIB and ((number := real(value)) is None or number < 0):
        return f"{show(value)} is not allowed; use a number of GiB, 0 or more{_digits(value)}"
    return None


def _dates(value: t.Any) -> t.Iterator[datetime.date]:
    """What YAML makes of 2026-01-01, anywhere in a value. No option takes it, and JSON has none."""
    if isinstance(value, datetime.date):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _dates(item)


def wrong_values(options: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """A line for each."""
    for name, value in options.items():
        if wrong := wrong_value(name, value):
            yield f"{name}: {wrong}"
    if missing := missing_drafts(options):
        yield f"speculative_config: {missing}"


def missing_drafts(options: t.Mapping[str, t.Any]) -> str | None:
    """Whether nothing says how many tokens to draft. A draft model and the other methods may say it themselves."""
    found = speculative_of(options)
    is_missing = found.get("method") == "ngram" and found.get(DRAFTS) is None
    return f"{DRAFTS} is missing; use a whole number above 0" if is_missing else None


def takes_any_context(environment: t.Mapping[str, t.Any]) -> bool:
    """Whether the environment lifts the limit of the model's own config.json."""
    return str(environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "")).strip().lower() in ("1", "true")


def fits(value: t.Any) -> bool:
    """Whether it asks for the longest context that fits."""
    return str(value).strip().lower() in _FITTING


def _whole(value: t.Any, least: int | None) -> str | None:
    found = integer(value) if isinstance(value, str) else value if isinstance(value, int) else None
    if found is not None and abs(found) >= 2**64:  # more than a computer counts with
        return f"{show(value)} is not allowed; use a smaller number"
    if found is not None and (least is None or found >= least) and not isinstance(value, bool):
        return None
    more = "" if least is None else " above 0" if least == 1 else f", {least} or more"
    allowed = f"a whole number{more}"
    return f"{show(value)} is not allowed; use {allowed}{_such_as(value, with_unit=False)}"


def _name(name: str, value: t.Any) -> str | None:
    if isinstance(value, (list, dict)):
        return f"{show(value)} is not allowed; use one name"
    said = str(value).strip().lower()
    if said in ("none", "null"):
        return f"{show(value)} is a name to vLLM; use null to drop the option"
    return None


def no_method(name: str, value: t.Any) -> str | None:
    """What is wrong with a method of quantization, unless the image brings one of its own by this name."""
    if name == "quantization" and isinstance(value, str) and value.strip().lower() in _NO_METHODS:
        return f"{show(value)} is no method of vLLM; use null, because the files of the model say their format"
    return None


def _adapters(value: t.Any) -> str | None:
    for item in value if isinstance(value, list) else [value]:
        found = of_json(item) if isinstance(item, str) and item.lstrip().startswith("{") else item
        is_read = {"name", "path"} <= set(found) if isinstance(found, dict) else "=" in str(found)
        if not is_read:
            return f"{show(item)} is not allowed; use a list of NAME=PATH, or of mappings with name and path"
    return None


def _numbers(name: str, value: t.Any) -> str | None:
    items = value if isinstance(value, list) else [value]
    wrong = next((item for item in items if _whole(item, 1)), None)
    if wrong is None:
        return None
    meant = re.findall(r"\d{1,9}", wrong) if isinstance(wrong, str) else []
    return f"{show(wrong)} is not allowed; use a list of whole numbers such as [{', '.join(meant) or '1, 2, 4'}]"


def _mapping(name: str, value: t.Any) -> str | None:
    found = of_json(value) if isinstance(value, str) else value
    if name == "compilation_config" and _LEVEL.fullmatch(str(value)):
        return None
    if not isinstance(found, dict):
        what = "is neither a mapping nor JSON of one" if isinstance(value, str) else "is not allowed"
        return f"{show(value)} {what}; write {name}: {{{_MAPPINGS[name]}}}"
    if name == "limit_mm_per_prompt":
        return _limits(found)
    if name != "speculative_config":
        return None
    drafts = speculative_of({name: found}).get(DRAFTS)
    wrong = None if drafts is None else _whole(drafts, 1)
    return f"{DRAFTS} {wrong}" if wrong else misspelled(found)


def _limits(limits: t.Mapping[str, t.Any]) -> str | None:
    """A number of pictures and the like, or a mapping with it as `count`."""
    for kind, limit in limits.items():
        number = limit.get("count", 0) if isinstance(limit, dict) else limit
        if wrong := _whole(number, 0):
            return f"{kind} {wrong}"
    return None


def _type(name: str, value: t.Any) -> str | None:
    said = argument(value).strip().lower()
    right = _SHORT_DTYPES.get(said, said)
    if name == "kv_cache_dtype" and not isinstance(value, str):
        return f"{show(value)} is not allowed; use a name such as fp8 or bfloat16"
    if name == "kv_cache_dtype" and not _CACHE_DTYPE.match(right):  # an image may have types of its own
        return None
    if name == "dtype" and right not in _DTYPES:
        return f"{show(value)} is not allowed; use {', '.join(_DTYPES)}"
    return None if right == argument(value) else f"{show(value)} is not allowed; write {right}"


def _such_as(value: t.Any, with_unit: bool = True) -> str:
    """The number that was probably meant: 20GiB is 20G, 1k where no unit is read is 1000."""
    found = _START.match(argument(value)) if not isinstance(value, (bool, list, dict)) else None
    if not found or not float(found[1] + found[2]):
        return ""
    if with_unit and found[3] and not found[2]:
        return f", such as {found[1]}{found[3]}"
    whole = tokens_of(found[1] + found[3])
    if found[2] and found[3]:
        whole = int(float(found[1] + found[2]) * (tokens_of(f"1{found[3]}") or 1))
    return f", such as {whole}"


def _digits(value: t.Any) -> str:
    found = _START.match(value) if isinstance(value, str) else None
    return f", such as {found[1]}{found[2]}" if found else ""
