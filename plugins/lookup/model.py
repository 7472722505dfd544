# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model
short_description: A model of the catalog
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Looks a model up, by its name in the catalog or by its Hugging Face id.
  - The collection knows the models of its folder C(catalog/models), one file each. The variable
    C(vllm_models) adds models, or changes fields of a known one. It is merged over the collection's entries by name,
    mappings key by key.
  - With O(image) it also says which options and environment variables this image needs for the model.
  - An entry that is malformed is refused with the field, its value and what is allowed.
  - Of a Hugging Face id that no entry has, only name and id are known. All else is V(none), unless O(facts) says it.
notes:
  - An entry of C(vllm_models) needs C(id), C(weights_bytes), C(layers), C(kv_heads), C(head_dim) and
    C(native_context). All other fields may be left out.
  - C(sources) says of each number where it comes from. M is measured by somebody who published it, S stated by a
    vendor or maintainer, C computed from public values, W weak, from a single source. None of it was measured on a
    Spark by this collection.
options:
  _terms:
    description: Names or Hugging Face ids. V(*) stands for all models, first the collection's, then yours.
    type: list
    elements: str
    required: true
  image:
    description: Reference of an image, as for the lookup P(dgxspark.vllm.image#lookup).
    type: str
  facts:
    description:
      - What the files of a model say, as the module M(dgxspark.vllm.model_info) returns it in C(entry). It fills in
        what no entry says of the model with that id.
    type: dict
    default: {}
seealso:
  - module: dgxspark.vllm.model_info
  - plugin: dgxspark.vllm.image
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: How large is it?
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.model', 'qwen3-8b-fp8').weights_bytes }} bytes"

- name: By its Hugging Face id
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.model', 'Qwen/Qwen3-8B-FP8').name }}"

- name: What does this image need for it?
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.model', 'gpt-oss-20b', image='nvcr.io/nvidia/vllm:26.04-py3').image_args }}"
# => {"attention_backend": "TRITON_ATTN", "moe_backend": "marlin", "quantization": "mxfp4"}

- name: All of them
  ansible.builtin.debug:
    msg: "{{ query('dgxspark.vllm.model', '*') | map(attribute='id') }}"

# In the inventory: a model of your own, and another context for one of ours
# vllm_model: my-7b
# vllm_models:
#   my-7b:
#     id: my-organisation/my-7b-instruct
#     weights_bytes: 15000000000
#     layers: 32
#     kv_heads: 8
#     head_dim: 128
#     native_context: 32768
#   qwen3-32b-fp8:
#     args:
#       max_model_len: 16384
"""

RETURN = r"""
_value:
  description: The model.
  type: list
  elements: dict
  contains:
    name:
      description: Its name in the catalog.
      type: str
      sample: qwen3-8b-fp8
    id:
      description: Its Hugging Face id.
      type: str
      sample: Qwen/Qwen3-8B-FP8
    described:
      description: Whether an entry of the catalog or of C(vllm_models) describes it.
      type: bool
      sample: true
    revision:
      description:
        - Commit, tag or branch of the hub that is downloaded and served. It is in RV(_value[].args), too.
        - Without it the newest is taken.
      type: str
      returned: if given
    weights_bytes:
      description: Size of the weights, on the disk and in memory.
      type: int
      sample: 9440000000
    active_bytes:
      description:
        - Bytes of the weights that are read for one token. Of a mixture of experts only a part, and never the table of
          the input's embeddings.
      type: int
      returned: if known
      sample: 8195000000
    roofline:
      description:
        - Tokens a second that one user cannot pass on a Spark, 273 GB/s divided by RV(_value[].active_bytes). It is
          computed.
      type: float
      returned: if RV(_value[].active_bytes) is known
      sample: 33.3
    layers:
      description: Layers that keep a KV cache.
      type: int
      sample: 36
    kv_heads:
      description: Heads of keys and values in a layer.
      type: int
      sample: 8
    head_dim:
      description: Length of one head.
      type: int
      sample: 128
    native_context:
      description: Tokens of context that the model was trained for.
      type: int
      sample: 32768
    config_context:
      description:
        - Tokens of context that its configuration allows. vLLM refuses more. Where an entry has none it is the native
          context.
      type: int
      sample: 40960
    extended_context:
      description: Tokens of context that it reaches when it is stretched.
      type: int
      returned: if known
      sample: 131072
    yarn:
      description:
        - How it is stretched. C(factor) and C(original_max_position_embeddings), and C(rope_theta) for a newer vLLM.
        - It is not done by itself, because it costs quality in short contexts. A context that is too long is refused
          with the line that does it.
      type: dict
      returned: if known
    sliding_window:
      description: Window of the layers that do not look at the whole context.
      type: int
      returned: if it has such layers
      sample: 128
    full_attention_layers:
      description: How many layers look at the whole context.
      type: int
      returned: if not all do
      sample: 12
    latent_dim:
      description:
        - Numbers that a layer keeps of a token, where it keeps one latent vector instead of keys and values (MLA).
          C(kv_lora_rank) and C(qk_rope_head_dim) of its configuration, added.
      type: int
      returned: if it is of that kind
      sample: 576
    state_layers:
      description: Layers that keep a state of constant size instead of a KV cache. They are not among C(layers).
      type: int
      returned: if it has such layers
      sample: 36
    state_bytes:
      description: Size of that state, for one request in one layer.
      type: int
      returned: if it has such layers
      sample: 2146304
    kv_cache_dtype:
      description:
        - C(fp8) if its checkpoint asks for a KV cache of that type, as those of ModelOpt may do (C(kv_cache_quant_algo)
          in C(config.json) or C(hf_quant_config.json)). From 0.14 on vLLM follows, unless C(--kv-cache-dtype) says
          otherwise.
      type: str
      returned: if known
      sample: fp8
    parameters:
      description: Number of parameters.
      type: str
      returned: if known
      sample: 8.2B
    quantization:
      description: How its weights are stored.
      type: str
      returned: if known
      sample: fp8 (blocks of 128x128)
    min_vllm:
      description: Oldest vLLM that can run it. An image with an older one is refused.
      type: str
      returned: if known
      sample: 0.11.0
    gated:
      description: Whether the hub wants a token for it.
      type: bool
      sample: false
    license:
      description: Its license.
      type: str
      returned: if known
      sample: Apache-2.0
    environment:
      description: Environment variables that it needs.
      type: dict
      sample: {}
    args:
      description: Options of C(vllm serve) that it needs. They win over the profile.
      type: dict
      sample: {}
    per_image:
      description:
        - What it needs with some images only, a list of rules. C(image) is a pattern of references, C(vllm) a range of
          versions such as V(>=0.19,<0.26). Where both are given both must hold, and a range never holds for an image
          whose version is not known. C(args) and C(environment) say what is needed, C(why) where that comes from.
      type: list
      elements: dict
      returned: if it has some
    image_args:
      description:
        - Options that the image needs for it. First those of the image's entry, then those of the rules in
          RV(_value[].per_image) that are meant for it, in their order. They win over RV(_value[].args).
      type: dict
      returned: with O(image)
    image_environment:
      description: Environment variables that the image needs for it, found in the same way.
      type: dict
      returned: with O(image)
    image_cannot_run:
      description: Why this image cannot run it. V(none) if nothing speaks against it.
      type: str
      returned: with O(image)
      sample: its vLLM has no attention sinks
    image_notes:
      description: Why, by the name of the option or variable.
      type: dict
      returned: with O(image)
    reasoning_parser:
      description: Value of C(--reasoning-parser), if you want its thoughts apart from its answer.
      type: str
      returned: if known
      sample: qwen3
    tool_call_parser:
      description: Value of C(--tool-call-parser), if you want tools, together with C(--enable-auto-tool-choice).
      type: str
      returned: if known
      sample: hermes
    tokens_per_second:
      description:
        - A published speed of vLLM for one user on one Spark, with the weights as they are stored. It is not above
          RV(_value[].roofline); what else is published stands in C(sources) and C(notes).
      type: float
      returned: if known
      sample: 51
    good_for:
      description: What it is good for.
      type: str
      returned: if known
    avoid_for:
      description: When to take another one.
      type: str
      returned: if known
    notes:
      description: What else an operator should know.
      type: list
      elements: str
      returned: if known
    sources:
      description: Where each value comes from.
      type: dict
      returned: if known
      sample:
        layers: "S: config.json"
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog, CatalogError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import complete


class LookupModule(LookupBase):
    def run(
        self,
        terms: list[t.Any],
        variables: dict[str, t.Any] | None = None,
        image: str = "",
        facts: dict[str, t.Any] | None = None,
        **kwargs: t.Any,
    ) -> list[dict[str, t.Any]]:
        if kwargs:
            raise AnsibleLookupError(f"model: {', '.join(kwargs)} is not an option; use image or facts")
        own, images, allowed = (
            plain(self._templar.template((variables or {}).get(name) or empty))
            for name, empty in (("vllm_models", {}), ("vllm_images", {}), ("vllm_image_allow", []))
        )
        if not isinstance(own, dict):
            raise AnsibleLookupError("vllm_models: is not allowed; use a mapping of models by name")
        catalog = Catalog()
        try:
            chosen = catalog.image(str(image), images, "unknown" in allowed) if image else None
            names = [name for term in terms for name in (catalog.models(own) if term == "*" else [str(term)])]
            return [complete(catalog.model(name, own, chosen), plain(facts or {})) for name in names]
        except CatalogError as error:
            raise AnsibleLookupError(f"model: {error}") from error
