# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for environment variables of the container, wherever they are written."""

from __future__ import annotations

import re
import typing as t

from .._common.text import placeholder, show
from .common import Lines, control_character, holds_secret

_SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY)$", re.IGNORECASE)
_PASSWORD = re.compile(r"(^|//)[^/\s@]*:[^/\s@]+@")  # user:password@ in front of a host
_OWN_VARIABLE = {
    "HF_TOKEN": "vllm_hf_token",
    "HUGGING_FACE_HUB_TOKEN": "vllm_hf_token",
    "VLLM_API_KEY": "vllm_api_key",
    "HF_ENDPOINT": "vllm_hf_endpoint",
    "HF_HUB_OFFLINE": "vllm_hf_offline",
    "HF_HOME": "hf_cache_path",
    "HF_HUB_CACHE": "hf_cache_path",
    "HUGGINGFACE_HUB_CACHE": "hf_cache_path",
    "TRANSFORMERS_CACHE": "hf_cache_path",
}
# In these, the loader of the container replaces such words itself (ld.so).
_PATHS_OF_THE_LOADER = ("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT")
_OF_THE_LOADER = ("ORIGIN", "LIB", "PLATFORM")


def is_secret(name: str, value: t.Any, secrets: t.Sequence[str]) -> bool:
    """Whether a variable looks like a secret, or holds one."""
    return bool(_SECRET_NAME.search(name) or _PASSWORD.search(str(value)) or holds_secret(value, secrets))


def environment(where: str, variables: t.Mapping[str, t.Any], secrets: t.Sequence[str]) -> Lines:
    for name, value in variables.items():
        at = f"{where}.{name}"
        if name in _OWN_VARIABLE:
            yield f"{at}: is not allowed here; set {_OWN_VARIABLE[name]} instead"
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
            yield f"{at}: is not the name of an environment variable; use letters, digits and _"
        elif _SECRET_NAME.search(str(name)) or holds_secret(value, secrets):
            yield f"{at}: looks like a secret that every user of the host could read; use vllm_hf_token or vllm_api_key"
        elif _PASSWORD.search(str(value)):
            yield (
                f"{at}: holds a password that every user of the host could read; use an address without one, such as"
                " http://proxy.example:3128"
            )
        elif isinstance(value, bool):
            yield f'{at}: {show(value)} is not allowed; write the text that the program wants, such as "1" or "0"'
        elif value is None or isinstance(value, (dict, list)):
            yield f"{at}: {show(value)} is not allowed; use one text or number"
        elif unfilled := placeholder(value, _OF_THE_LOADER if str(name) in _PATHS_OF_THE_LOADER else ()):
            yield f"{at}: {unfilled}"
        elif re.search(r"[\r\n]", str(value)):
            yield f"{at}: holds a line break; use one line"
        elif control := control_character(value):
            yield f"{at}: holds the control character {control}; remove it"
