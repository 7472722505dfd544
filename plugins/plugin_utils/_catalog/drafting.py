# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM knows of drafting tokens: the methods and the keys of speculative_config, for words that are nearly one.

S: vllm/config/speculative.py of 0.10.1.1 to 0.32. A patched image may have more, so only what is nearly one is wrong.
"""

from __future__ import annotations

import difflib
import re
import typing as t

from .._common.text import show

_FAMILIES = (
    *("deepseek", "mimo", "mimo_v2", "glm4_moe", "glm4_moe_lite", "glm_ocr", "ernie", "nemotron_h", "exaone_moe"),
    *("exaone4_5", "qwen3_next", "qwen3_5", "longcat_flash", "bailing_hybrid", "pangu_ultra_moe", "step3p5"),
    *("minimax_m3", "kimi_k3", "qwen4_exp", "dots3_note", "bailing_hybrid_v3"),
)
METHODS = (
    *("mtp", "ngram", "ngram_gpu", "eagle", "eagle3", "dflash", "dspark", "medusa", "mlp_speculator", "draft_model"),
    *("suffix", "custom_class", "extract_hidden_states"),
    *(f"{family}_mtp" for family in _FAMILIES),
)
KEYS = (
    *("method", "model", "num_speculative_tokens", "enforce_eager", "draft_tensor_parallel_size", "quantization"),
    *("tensor_parallel_size", "moe_backend", "attention_backend", "kv_cache_dtype", "max_model_len", "revision"),
    *("code_revision", "prompt_lookup_max", "prompt_lookup_min", "parallel_drafting", "draft_load_config"),
    *("num_speculative_tokens_per_batch_size", "disable_padded_drafter_batch", "disable_eagle_block_drop"),
    *("use_local_argmax_reduction", "use_heterogeneous_vocab", "index_share_for_mtp_iteration", "dspark_draft_topk"),
    *("suffix_decoding_max_tree_depth", "suffix_decoding_max_cached_requests", "suffix_decoding_max_spec_factor"),
    *("suffix_decoding_min_token_prob", "rejection_sample_method", "synthetic_acceptance_rates", "draft_sample_method"),
    *("synthetic_acceptance_length", "enable_adaptive_verification", "disable_by_batch_size", "disable_logprobs"),
    *("speculative_token_tree", "posterior_threshold", "posterior_alpha", "acceptance_method", "disable_mqa_scorer"),
)


# Words of other tools and of command lines for the same.
_OTHER_WORDS = {
    **dict.fromkeys(("num_spec_tokens", "num_draft_tokens", "spec_tokens", "tokens"), "num_speculative_tokens"),
    **dict.fromkeys(("draft_model", "speculative_model", "draft"), "model"),
}


def misspelled(config: t.Mapping[str, t.Any]) -> str | None:
    """A key, or the method, of a speculative_config that is nearly one that vLLM has."""
    for key in map(str, config):
        plain = key.replace("-", "_")
        if plain not in KEYS and (near := _OTHER_WORDS.get(plain) or _near(plain, KEYS, 0.9)):
            return f"{show(key)} is not one of its keys; did you mean {near}?"
    method = config.get("method")
    if isinstance(method, str) and method not in METHODS and (near := _meant(method.lower())):
        return f"method {show(method)} is unknown; did you mean {near}?"
    return None


def _near(word: str, known: t.Iterable[str], likeness: float) -> str | None:
    """Only a slip: a patched image may have words of its own, and a number at the end says another generation."""
    names = list(known)
    if word.rstrip("0123456789") in names and word not in names:
        return None
    return next(iter(difflib.get_close_matches(word, names, n=1, cutoff=likeness)), None)


_VERSION = re.compile(r"v?\d+(?:p\d+)?")  # k3, v2, 3p5
_LONG = 5  # letters: shorter words, such as gpu and h, tell one method from another
_MOST_SLIPS = 2


def _meant(method: str) -> str | None:
    """The method that is written with another case, other separators, or one or two slips. New ones have the letters
    of an older one with other digits, or its name with something around it: kimi_k4_mtp, peagle, ngram_cpu."""
    letters, joined = _letters(method), _joined(method)
    for known in METHODS:
        if joined == _joined(known):
            return known
    for known in METHODS:
        if letters == _letters(known) or (len(known) >= _LONG and method.endswith(known)):
            return None
    slips = {known: _slips_of_words(_SEPARATOR.split(method), known.split("_")) for known in METHODS}
    nearest = min(METHODS, key=slips.__getitem__)
    return nearest if slips[nearest] <= _MOST_SLIPS else None


_SEPARATOR = re.compile("[_-]")


def _joined(method: str) -> str:
    return _SEPARATOR.sub("", method)


def _letters(method: str) -> str:
    return _joined(_VERSION.sub("", method))


def _slips_of_words(words: t.Sequence[str], known: t.Sequence[str]) -> int:
    if len(words) != len(known):
        return _MOST_SLIPS + 1
    pairs = [(one, other) for one, other in zip(words, known, strict=True) if sorted(one) != sorted(other)]
    if any(len(other) < _LONG for _one, other in pairs):
        return _MOST_SLIPS + 1
    return sum(_slips(one, other) for one, other in pairs)


def _slips(one: str, other: str) -> int:
    """Letters to add, to remove or to exchange; of words whose lengths differ by more, only that they are more."""
    if abs(len(one) - len(other)) > _MOST_SLIPS:
        return _MOST_SLIPS + 1
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, wanted in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (letter != wanted))
    return row[-1]
