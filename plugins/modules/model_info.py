#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: model_info
short_description: Read the catalog entry of a model from its own files
version_added: "0.1.0"
description:
  - Returns a catalog entry, as required for the memory plan, made of C(config.json), C(hf_quant_config.json) if there
    is one, and the index of the weights.
  - The files are read from the cache on the host, or else from the hub, those of a model in a folder of the host from
    there. They have a few kilobytes, or some megabytes
    for a mixture of many experts, and are not stored.
  - The role C(vllm) uses it for models that are neither in the catalog nor in C(vllm_models).
  - Weights are found in safetensors, in C(pytorch_model.bin) and in Mistral's own format (C(params.json) and
    C(consolidated.safetensors)).
extends_documentation_fragment:
  - dgxspark.vllm.attributes
  - dgxspark.vllm.hf_model
  - dgxspark.vllm.hf_model.hub
options:
  model:
    description:
      - Hugging Face ID of the model, such as V(Qwen/Qwen3-8B-FP8), or the absolute path of its folder on the host.
    type: str
    required: true
  source:
    description: Another Hugging Face cache on the host, which is read if O(path) does not hold the model.
    type: path
  token:
    description:
      - Hugging Face token, required for gated models only. It is sent to the hub only, never to a host that the hub
        redirects to.
    type: str
  offline:
    description: Read the caches only, never the hub.
    type: bool
    default: false
  timeout:
    description: Timeout of each request to the hub in seconds. All of them together may take ten times as long.
    type: int
    default: 30
seealso:
  - plugin: dgxspark.vllm.memory_plan
    plugin_type: filter
author:
  - The dgxspark.vllm authors (@dgxspark)
"""

EXAMPLES = r"""
- name: Read the properties of a model
  dgxspark.vllm.model_info:
    model: Qwen/Qwen3-14B-FP8
  register: facts

- name: Show whether the model fits
  ansible.builtin.debug:
    msg: "{{ (facts.entry | dgxspark.vllm.memory_plan(total_bytes=130674379980, args={'max_model_len': 32768})).fits }}"
"""

RETURN = r"""
entry:
  description: Fields of a catalog entry, as documented in P(dgxspark.vllm.model#lookup).
  returned: success
  type: dict
  sample: {"id": "Qwen/Qwen3-14B-FP8", "weights_bytes": 16325177856, "layers": 40, "kv_heads": 8, "head_dim": 128,
    "native_context": 40960, "config_context": 40960}
assumed:
  description: Assumptions for values that the files do not specify, one line each.
  returned: success
  type: list
  elements: str
source:
  description: Where the files were read, V(cache), V(hub) or V(folder).
  returned: success
  type: str
  sample: hub
reason:
  description: Why the model cannot be described, in one line.
  returned: failure
  type: str
  sample: "vllm_model: Qwen/Qwen9 cannot be planned: the hub has no such model (404 from https://huggingface.co)"
advice:
  description: What to do. The message of the failed task is RV(reason) followed by this text.
  returned: failure
  type: str
  sample: describe it in vllm_models, or set vllm_enforce_memory_plan to false to try it without a plan
"""

import contextlib
import os
import signal
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import memory
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.layout import CacheError
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.hub import Cache, Hub, HubError
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.model_files import is_name
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.model_folder import Folder
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.config_values import ConfigError, whole
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of

INDEX = "model.safetensors.index.json"
QUANTIZATION = "hf_quant_config.json"  # where older checkpoints of ModelOpt say what their config.json does not
# In the order in which the download and vLLM prefer them.
INDEXES = (INDEX, "pytorch_model.bin.index.json", "consolidated.safetensors.index.json")
SINGLES = ("model.safetensors", "pytorch_model.bin", "consolidated.safetensors")
MOST_FILES = 2000
ADVICE = "describe it in vllm_models, or set vllm_enforce_memory_plan: false to try it without a plan"
CONFIGS = ("config.json", "params.json")  # the second is Mistral's own


class Source(t.Protocol):
    def read_json(self, name: str) -> dict[str, t.Any] | None: ...

    def size(self, name: str) -> int | None: ...


def weights_bytes(source: Source) -> int | None:
    """What an index says in all, or the lengths of its files, or of the only file."""
    for index, single in zip(INDEXES, SINGLES, strict=True):
        listed = source.read_json(index)
        if listed is not None:
            metadata = listed.get("metadata")
            total = metadata.get("total_size") if isinstance(metadata, dict) else None
            if isinstance(total, float) and 0 < total < 1e15:
                total = int(total)
            if whole("total_size", total):
                return whole("total_size", total)
            files = listed.get("weight_map")
            found = files.values() if isinstance(files, dict) else ()
            names = sorted({name for name in found if isinstance(name, str) and is_name(name)})
            if len(names) > MOST_FILES:  # each is asked for
                raise ConfigError(f"its {index} names {len(names)} files; at most {MOST_FILES} are possible")
            sizes = [source.size(name) for name in names]
            if sizes and all(sizes):
                return sum(size for size in sizes if size)
        size = source.size(single)
        if size:
            return size
    return None


def read(source: Source) -> tuple[dict[str, t.Any], int] | None:
    """Configuration and size of the weights; None if the source has not both."""
    config = next((found for name in CONFIGS if (found := source.read_json(name))), None)
    size = weights_bytes(source) if config else None
    if not config or not size:
        return None
    if not config.get("quantization_config"):
        config = {**config, "quantization_config": source.read_json(QUANTIZATION)}
    return config, size


@contextlib.contextmanager
def within(seconds: int) -> t.Iterator[None]:
    """A hub that sends a byte now and then ends no timeout of a socket."""

    def is_late(*_args: t.Any) -> t.NoReturn:
        raise HubError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, is_late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def look(options: dict[str, t.Any]) -> dict[str, t.Any]:
    model, revision = options["model"], options["revision"]
    if model.startswith("/"):
        found = read(Folder(model, options["path"]))
        return _result(model, found, "folder")
    folders = [folder for folder in (options["path"], options["source"]) if folder]
    caches = (read(Cache(os.path.realpath(folder), model, revision)) for folder in folders)
    found, source = next((files for files in caches if files), None), "cache"
    if found is None:
        if options["offline"]:
            raise HubError(f"it is not in {' or '.join(folders)}, and vllm_hf_offline forbids to ask the hub")
        source = "hub"
        found = read(Hub(options["endpoint"] or "", model, revision, options["token"] or "", options["timeout"]))
    return _result(model, found, source)


def _result(model: str, found: tuple[dict[str, t.Any], int] | None, source: str) -> dict[str, t.Any]:
    if found is None:
        raise HubError(f"it has no config.json, or no weights: none of {', '.join((INDEX, *SINGLES))}")
    entry, assumed = entry_of(*found)
    return {"entry": {"id": model, **entry}, "assumed": assumed, "source": source}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "path": {"type": "path", "default": "/opt/hf"},
            "source": {"type": "path"},
            "endpoint": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "offline": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    try:
        with memory.limited(), within(10 * module.params["timeout"]):
            result = look(module.params)
    except (HubError, ConfigError, CacheError) as error:
        reason = f"vllm_model: {module.params['model']} cannot be planned: {error}"
        module.fail_json(msg=f"{reason}; or {ADVICE}", reason=reason, advice=ADVICE)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
