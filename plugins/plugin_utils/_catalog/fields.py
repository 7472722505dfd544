# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of an entry of the catalog, and what is wrong with an entry. Pure."""

from __future__ import annotations

import re
import typing as t

from .._common.text import hint, show
from .per_image import is_range, is_rule

Entry = dict[str, t.Any]

MODEL_FOLDER = "/srv/models/mine"  # of a model on the host, in messages


class Field(t.NamedTuple):
    kind: str
    required: bool = False


MODEL_FIELDS = {
    "id": Field("model", required=True),
    "revision": Field("revision"),
    "weights_bytes": Field("whole number", required=True),
    "hidden_layers": Field("whole number"),
    "layers": Field("whole number", required=True),
    "kv_heads": Field("whole number", required=True),
    "head_dim": Field("whole number", required=True),
    "native_context": Field("whole number", required=True),
    "config_context": Field("whole number"),
    "extended_context": Field("whole number"),
    "sliding_window": Field("whole number"),
    "full_attention_layers": Field("whole number"),
    "value_head_dim": Field("whole number"),
    "attention_kinds": Field("list of attention kinds"),
    "latent_dim": Field("whole number"),
    "index_dim": Field("whole number"),
    "index_layers": Field("whole number"),
    "compressed": Field("layers by tokens of a vector"),
    "state_layers": Field("whole number"),
    "state_bytes": Field("whole number"),
    "state_matrix": Field("whole number"),
    "state_width": Field("whole number"),
    "state_channels": Field("whole number"),
    "state_chunk": Field("whole number"),
    "mtp_layers": Field("whole number"),
    "mtp_kinds": Field("list of attention kinds"),
    "dspark_layers": Field("whole number"),
    "attention_heads": Field("whole number"),
    "hidden_size": Field("whole number"),
    "experts": Field("whole number"),
    "expert_size": Field("whole number"),
    "vocab_size": Field("whole number"),
    "embedding_bytes": Field("whole number"),
    "activation_bytes": Field("whole number"),
    "vision_bytes": Field("whole number"),
    "kv_cache_dtype": Field("cache type"),
    "yarn": Field("mapping"),
    "parameters": Field("text"),
    "active_bytes": Field("whole number"),
    "quantization": Field("text"),
    "min_vllm": Field("version"),
    "architectures": Field("list of texts"),
    "image": Field("text"),
    "draft": Field("draft"),
    "gated": Field("boolean"),
    "license": Field("text"),
    "environment": Field("mapping"),
    "args": Field("mapping"),
    "per_image": Field("list"),
    "reasoning_parser": Field("text"),
    "tool_call_parser": Field("text"),
    "tokens_per_second": Field("number"),
    "good_for": Field("text"),
    "avoid_for": Field("text"),
    "notes": Field("list of texts"),
    "sources": Field("mapping"),
}
# Names of config.json, from which such an entry is written by hand, and the field that is meant. Some are near another.
_LATENT = "latent_dim, the sum of kv_lora_rank and qk_rope_head_dim"
NAMES_OF_CONFIG = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), "layers"),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_kv_heads"), "kv_heads"),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), "attention_heads"),
    "v_head_dim": "value_head_dim",
    **dict.fromkeys(("kv_lora_rank", "qk_rope_head_dim"), _LATENT),
    "index_head_dim": "index_dim",
    "compress_ratios": "compressed",
    "sliding_window_size": "sliding_window",
    **dict.fromkeys(("layer_types", "attention_chunk_size"), "attention_kinds"),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_sequence_length"), "config_context"),
    **dict.fromkeys(("seq_length", "max_seq_len", "model_max_length"), "config_context"),
    **dict.fromkeys(("rope_scaling", "rope_parameters"), "yarn"),
    **dict.fromkeys(("n_embd", "d_model", "dim"), "hidden_size"),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), "experts"),
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size", "ffn_hidden_size_moe"), "expert_size"),
    "padded_vocab_size": "vocab_size",
    **dict.fromkeys(("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"), "mtp_layers"),
    "quantization_config": "quantization",
    **dict.fromkeys(("kv_cache_quant_algo", "kv_cache_scheme"), "kv_cache_dtype"),
}
IMAGE_FIELDS = {
    "vllm": Field("version"),
    "cuda": Field("version"),
    "min_driver": Field("version"),
    "nccl": Field("version"),
    "digest": Field("digest"),
    "pull_bytes": Field("whole number"),
    "unpacked_bytes": Field("whole number"),
    "entrypoint": Field("list of texts"),
    "command_prefix": Field("list of texts"),
    "architectures": Field("list of texts"),
    "options": Field("list of texts"),
    "ray": Field("boolean"),
    "multi_node": Field("boolean"),
    "args": Field("mapping"),
    "environment": Field("mapping"),
    "status": Field("status"),
    "faults": Field("list of faults"),
    "cannot_run": Field("mapping"),
    "security": Field("list of texts"),
    "sources": Field("mapping"),
}
PROFILE_FIELDS = {"args": Field("mapping", required=True)}
STATUSES = ("good", "unknown", "avoid")

# Tokens that become one vector, in DeepSeek V4 and in V4.1: each model has those of its own.
_RATIOS = ({"4", "128"}, {"1", "2"})
_KIND_FIELDS = {"layers", "kv_heads", "head_dim", "value_head_dim", "sliding_window", "attention_chunk", "cross"}
_DRAFT_FIELDS = {
    "id": "Hugging Face id",
    "revision": "revision",
    "weights_bytes": "whole number",
    "attention_kinds": "list of attention kinds",
    "vllm": "vLLM's range",
    "args": "mapping",
}
# 580.95.05, 0.22.1rc1.dev124+gace95c9cf, 0.10.1.1+381074ae.nv25.09, 0.11.1.dev+g1
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*(\.?(dev|alpha|a|beta|b|c|rc|post)[0-9]*)*([+-]\S*)?")
# What each kind asks for: the test, and how the message says it.
_KINDS: dict[str, tuple[t.Callable[[t.Any], bool], str]] = {
    "Hugging Face id": (
        lambda v: isinstance(v, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", v, re.ASCII) is not None,
        "a Hugging Face id such as Qwen/Qwen3-8B-FP8",
    ),
    "model": (
        lambda v: is_hugging_face_id(v) or is_folder(v),
        f"a Hugging Face id such as Qwen/Qwen3-8B-FP8, or the whole path of a folder such as {MODEL_FOLDER}",
    ),
    "whole number": (lambda v: _is_int(v) and v > 0, "a whole number above 0"),
    "number": (lambda v: (_is_int(v) or isinstance(v, float)) and v > 0, "a number above 0"),
    "text": (lambda v: isinstance(v, str), "text"),
    "boolean": (lambda v: isinstance(v, bool), "true or false"),
    "mapping": (lambda v: isinstance(v, dict), "a mapping"),
    "revision": (
        lambda v: isinstance(v, str) and re.fullmatch(r"[\w.-][\w./-]*", v, re.ASCII) is not None,
        "a commit, tag or branch of the hub, in quotes",
    ),
    "digest": (
        lambda v: isinstance(v, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", v) is not None,
        "sha256: and 64 hexadecimal digits",
    ),
    "version": (
        lambda v: isinstance(v, str) and re.fullmatch(_VERSION, v) is not None,
        'a version in quotes, such as "0.32.0"',
    ),
    "list of texts": (
        lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v),
        "a list of texts",
    ),
    "list": (lambda v: isinstance(v, list), "a list"),
    "list of attention kinds": (
        lambda v: isinstance(v, list) and all(isinstance(item, dict) and set(item) <= _KIND_FIELDS for item in v),
        "a list of {layers, kv_heads, head_dim, value_head_dim, sliding_window, attention_chunk, cross}",
    ),
    "layers by tokens of a vector": (
        lambda v: (
            isinstance(v, dict)
            and any({*map(str, v)} <= ratios for ratios in _RATIOS)
            and all(_KINDS["whole number"][0](count) for count in v.values())
        ),
        "numbers of layers by the tokens of a vector, either of 4 and 128, such as {4: 21, 128: 20}, or of 1 and 2",
    ),
    "draft": (
        lambda v: (
            isinstance(v, dict)
            and {"method", "tokens"} <= set(v) <= {"method", "tokens", *_DRAFT_FIELDS}
            and isinstance(v["method"], str)
            and all(_KINDS[_DRAFT_FIELDS.get(key, "whole number")][0](v[key]) for key in v if key != "method")
        ),
        "a mapping with method and tokens, and with id, revision, weights_bytes and attention_kinds if it is a"
        " repository of its own, vllm and args",
    ),
    "vLLM's range": (is_range, 'a range of versions such as ">=0.28"'),
    "cache type": (lambda v: v == "fp8", "fp8, or leave it out"),
    "status": (lambda v: v in STATUSES, "good, unknown or avoid"),
    "list of faults": (
        lambda v: (
            isinstance(v, list)
            and all(
                isinstance(item, dict)
                and "what" in item
                and set(item) <= {"what", "remedy", "fixed_in", "only_with"}
                and isinstance(item.get("only_with", {}), dict)
                for item in v
            )
        ),
        "a list of {what, remedy, fixed_in, only_with: a mapping}",
    ),
}


def is_hugging_face_id(value: t.Any) -> bool:
    return _KINDS["Hugging Face id"][0](value)


def is_folder(value: t.Any) -> bool:
    """Whether this names a model by its folder on the host."""
    return isinstance(value, str) and value.startswith("/")


def _is_int(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def entry_problems(where: str, entry: t.Any, fields: t.Mapping[str, Field]) -> list[str]:
    """What is wrong with one entry, a line each."""
    if not isinstance(entry, dict):
        return [f"{where}: {show(entry)} is not allowed; use a mapping with {', '.join(_needed(fields))}"]
    meant = NAMES_OF_CONFIG if fields is MODEL_FIELDS else {}
    lines = [
        f"{where}.{key}: unknown field; {f'did you mean {meant[key]}?' if key in meant else hint(str(key), fields)}"
        for key in entry
        if key not in fields
    ]
    for key, field in fields.items():
        value = entry.get(key)
        if value is None:
            if field.required:
                lines.append(f"{where}.{key}: is missing; use {_KINDS[field.kind][1]}")
        elif not _KINDS[field.kind][0](value):
            lines.append(f"{where}.{key}: {show(value)} is not allowed; use {_KINDS[field.kind][1]}")
    return lines


def _needed(fields: t.Mapping[str, Field]) -> list[str]:
    return [key for key, field in fields.items() if field.required] or list(fields)


def model_problems(name: str, entry: t.Any) -> list[str]:
    where = f"vllm_models.{name}"
    lines = entry_problems(where, entry, MODEL_FIELDS)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", str(name)):
        lines.insert(0, f"{where}: the name is not allowed; use lower case letters, digits, . _ and -")
    return lines or list(_contradictions(where, entry))


# Of a model, what cannot be more than what.
_AT_MOST = (
    ("native_context", "config_context"),
    ("full_attention_layers", "layers"),
)


def _contradictions(where: str, entry: Entry) -> t.Iterator[str]:
    for small, large in _AT_MOST:
        if entry.get(small) and entry.get(large) and entry[small] > entry[large]:
            yield f"{where}.{small}: {entry[small]} is more than {large} ({entry[large]}); use at most that"
    for number, rule in enumerate(entry.get("per_image") or []):
        if not is_rule(rule):
            yield (
                f"{where}.per_image[{number}]: {show(rule)} is not a rule; use image (a pattern) or vllm (a range such"
                ' as ">=0.19,<0.26") or both, with args or environment'
            )
    if entry.get("revision") and is_folder(entry["id"]):
        yield f"{where}.revision: {show(entry['revision'])} is of the hub, and id is a folder; remove it"
    if entry.get("yarn") and not {"factor", "original_max_position_embeddings"} <= set(entry["yarn"]):
        yield f"{where}.yarn: is not complete; use factor and original_max_position_embeddings"


def image_problems(ref: str, entry: t.Any) -> list[str]:
    return entry_problems(f"vllm_images[{ref}]", entry, IMAGE_FIELDS)


def profile_problems(name: str, entry: t.Any) -> list[str]:
    return entry_problems(f"vllm_profiles.{name}", entry, PROFILE_FIELDS)
