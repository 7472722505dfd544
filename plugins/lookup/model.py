# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model
short_description: Look up a model in the catalog
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Returns the properties of a model, by its name in the catalog or its Hugging Face ID.
  - The models of the catalog are in the folder C(catalog/models), one file each. The variable C(vllm_models) adds
    models, or changes fields of known ones. It is merged over the catalog by name and key.
  - With O(image) it also returns the options and environment variables that this image requires for the model.
  - An invalid entry is rejected with the field, its value and the allowed values.
  - A Hugging Face ID without an entry has only a name and an ID. Other fields are V(none), unless O(facts) has them.
notes:
  - An entry of C(vllm_models) requires C(id), C(weights_bytes), C(layers), C(kv_heads), C(head_dim) and
    C(native_context). All other fields are optional.
  - C(sources) labels each figure with its source. M is a published measurement, S a statement of a vendor or
    maintainer, C is computed from public values, and W is weak, from a single source. None was measured on a Spark by
    this collection.
options:
  _terms:
    description: Names or Hugging Face IDs. V(*) stands for all models, those of the catalog first.
    type: list
    elements: str
    required: true
  image:
    description: Reference of an image, as for the lookup P(dgxspark.vllm.image#lookup).
    type: str
  facts:
    description:
      - Properties from the files of a model, as returned in C(entry) by M(dgxspark.vllm.model_info). They complete the
        entry of the model with that ID.
    type: dict
    default: {}
seealso:
  - module: dgxspark.vllm.model_info
  - plugin: dgxspark.vllm.image
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Show the size of a model
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.model', 'qwen3-8b-fp8').weights_bytes }} bytes"

- name: Look up a model by its Hugging Face ID
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.model', 'Qwen/Qwen3-8B-FP8').name }}"

- name: Show the options that an image requires for the model
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.model', 'gpt-oss-20b', image='nvcr.io/nvidia/vllm:26.04-py3').image_args }}"
# => {"attention_backend": "TRITON_ATTN", "moe_backend": "marlin", "quantization": "mxfp4"}

- name: Show all models
  ansible.builtin.debug:
    msg: "{{ query('dgxspark.vllm.model', '*') | map(attribute='id') }}"

# In the inventory: a user-defined model, and another context for a model of the catalog
# vllm_model: my-7b
# vllm_models:
#   my-7b:
#     id: my-organization/my-7b-instruct
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
      description: Name in the catalog.
      type: str
      sample: qwen3-8b-fp8
    id:
      description: Hugging Face ID, or the path of its folder on the host.
      type: str
      sample: Qwen/Qwen3-8B-FP8
    folder:
      description: Path of its folder on the host. V(none) for a model of the hub.
      type: str
      sample: /srv/models/mine
    described:
      description: Whether an entry of the catalog or of C(vllm_models) describes it.
      type: bool
      sample: true
    revision:
      description: Commit, tag or branch that is downloaded and served, also in RV(_value[].args). Else the latest.
      type: str
      returned: if given
    weights_bytes:
      description: Size of the weights, on disk and in memory.
      type: int
      sample: 9440000000
    active_bytes:
      description:
        - Bytes of the weights that are read for one token. For a mixture of experts this is a part of the weights. The
          input embeddings are excluded.
      type: int
      returned: if known
      sample: 8195000000
    roofline:
      description:
        - Upper limit of the tokens per second for one user on a Spark, computed as 273 GB/s divided by
          RV(_value[].active_bytes).
      type: float
      returned: if RV(_value[].active_bytes) is known
      sample: 33.3
    hidden_layers:
      description: Number of layers of the decoder. Some keep no KV cache, or several, so C(layers) may differ.
      type: int
      returned: if known
    layers: {description: Number of layers with a KV cache., type: int, sample: 36}
    kv_heads: {description: Number of KV heads per layer., type: int, sample: 8}
    head_dim: {description: Dimension of a head., type: int, sample: 128}
    native_context:
      description: Context length in tokens of the training.
      type: int
      sample: 32768
    config_context:
      description:
        - Context length in tokens that the configuration of the model allows. vLLM rejects a longer context.
        - The default is RV(_value[].native_context).
      type: int
      sample: 40960
    extended_context:
      description: Context length in tokens with RV(_value[].yarn).
      type: int
      returned: if known
      sample: 131072
    yarn:
      description:
        - Parameters of YaRN, C(factor) and C(original_max_position_embeddings), and C(rope_theta) for newer versions of
          vLLM.
        - YaRN is not enabled automatically, because it reduces the quality in short contexts. A longer context is
          rejected with a message that contains the required option.
      type: dict
      returned: if known
    sliding_window:
      description: Window in tokens of the layers with sliding-window attention.
      type: int
      returned: if it has such layers
      sample: 128
    full_attention_layers:
      description: Number of layers with full attention.
      type: int
      returned: if not all do
      sample: 12
    value_head_dim:
      description: Length of one head of values.
      type: int
      returned: if it is another than that of keys
      sample: 128
    attention_kinds:
      description:
        - The layers with attention by kind, where they differ in more than whether they look at a window. Each item has
          C(layers), C(kv_heads) and C(head_dim), and where it applies C(value_head_dim), C(sliding_window),
          C(attention_chunk) (tokens that a layer looks at together), or C(cross) (keeps what an encoder gives).
        - An empty list means that nothing is kept of a token, as with models that only embed.
      type: list
      elements: dict
      returned: if needed
      sample: [{layers: 5, kv_heads: 2, head_dim: 512}, {layers: 25, kv_heads: 8, head_dim: 256, sliding_window: 1024}]
    latent_dim:
      description:
        - Dimension of the latent vector per token and layer, for models with multi-head latent attention (MLA). The sum
          of C(kv_lora_rank) and C(qk_rope_head_dim) of the configuration.
      type: int
      returned: if it uses MLA
      sample: 576
    index_dim:
      description: Length of the keys by which sparse attention chooses tokens, which are kept in 8 bits.
      type: int
      returned: if it has sparse attention
      sample: 128
    index_layers:
      description: Number of layers that keep such keys.
      type: int
      returned: if not all do
      sample: 21
    compressed:
      description: Layers by the tokens, C(4) or C(128), of which they keep one vector beside a window (DeepSeek V4).
      type: dict
      returned: if it has such layers
      sample: {"4": 21, "128": 20}
    state_layers:
      description: Number of layers with a state of constant size instead of a KV cache. They do not count as C(layers).
      type: int
      returned: if it has such layers
      sample: 36
    state_bytes:
      description: Size in bytes of that state, per request and layer.
      type: int
      returned: if it has such layers
      sample: 2146304
    state_matrix:
      description: How many numbers of RV(_value[].state_bytes) are those of a matrix, whose type can be chosen.
      type: int
      returned: if it has such a state
      sample: 524288
    state_width:
      description: Bytes of each of these numbers.
      type: int
      returned: if it has such a state
      sample: 4
    state_channels:
      description: Channels of the convolution, of which one more input is kept for each drafted token.
      type: int
      returned: if it has such a state
      sample: 8192
    state_chunk:
      description: Tokens that a Mamba 2 layer computes at once. Some versions of vLLM keep more states of it.
      type: int
      returned: if it has such layers
      sample: 128
    mtp_layers:
      description: Layers of its own that draft tokens (MTP). They keep a cache when they are used.
      type: int
      returned: if it has such layers
      sample: 1
    mtp_kinds:
      description: The same by kind, with the fields of C(attention_kinds).
      type: list
      elements: dict
      returned: if they do not keep what the first of its layers keep
      sample: [{layers: 1, kv_heads: 8, head_dim: 128, sliding_window: 128}]
    dspark_layers:
      description: Layers of its own that draft several tokens at once (DSpark of DeepSeek V4).
      type: int
      returned: if it has such layers
      sample: 3
    attention_heads:
      description: Heads of queries, which several hosts divide.
      type: int
      returned: if known
      sample: 32
    hidden_size:
      description: Numbers between two layers.
      type: int
      returned: if known
      sample: 4096
    experts:
      description: Experts in MXFP4 of a layer. The kernel Marlin pads each, which needs memory.
      type: int
      returned: if it has such experts
      sample: 128
    expert_size:
      description: Inner width of such an expert.
      type: int
      returned: if it has such experts
      sample: 2880
    vocab_size:
      description: Words of its vocabulary. vLLM keeps some bytes of memory for each word of each request.
      type: int
      returned: if known
      sample: 151936
    embedding_bytes:
      description: Weights that stay as they are when vLLM quantizes the model at its start.
      type: int
      returned: if known
      sample: 2489319424
    activation_bytes:
      description: What computing needs for each token of a batch. docs/reference/memory.md says how it is computed.
      type: int
      returned: if known
      sample: 102400
    vision_bytes:
      description: What the part that sees needs for each token of a batch of pictures.
      type: int
      returned: if it sees
      sample: 96512
    kv_cache_dtype:
      description:
        - C(fp8) if the checkpoint specifies a KV cache of that type, as with ModelOpt (C(kv_cache_quant_algo) in
          C(config.json) or C(hf_quant_config.json)). vLLM uses it from 0.14 on, unless C(--kv-cache-dtype) is set.
      type: str
      returned: if known
      sample: fp8
    parameters:
      description: Number of parameters.
      type: str
      returned: if known
      sample: 8.2B
    quantization:
      description: Format of the weights.
      type: str
      returned: if known
      sample: fp8 (blocks of 128x128)
    min_vllm:
      description: Oldest supported version of vLLM. Images with an older one are rejected.
      type: str
      returned: if known
      sample: 0.11.0
    gone_in:
      description: The first version of vLLM that no longer has its architecture. Images with it are rejected.
      type: str
      returned: if vLLM has dropped it
      sample: 0.25.0
    architectures:
      description:
        - Names of its classes in vLLM, as in its C(config.json). Images whose vLLM has none of them are rejected.
        - For a model that is not in the catalog they are what its name implies, until its C(config.json) was read.
      type: list
      elements: str
      returned: if known
      sample: [Qwen3ForCausalLM]
    image:
      description: Image that the model is known to run with.
      type: str
      returned: if known
      sample: vllm/vllm-openai:v0.28.0
    draft:
      description:
        - Speculative decoding. C(method) and C(tokens) are those of C(speculative_config). C(id) and C(revision) name
          the draft model; without C(id) the layers are the model's own (MTP). C(weights_bytes) and C(attention_kinds)
          are those of the draft model. C(vllm) is the range of versions that has it, C(args) are further keys of
          C(speculative_config).
        - Matching images get it as C(speculative_config) in RV(_value[].image_args).
      type: dict
      returned: if it has one
    gated:
      description: Whether the hub requires a token.
      type: bool
      sample: false
    license:
      description: License.
      type: str
      returned: if known
      sample: Apache-2.0
    environment:
      description: Environment variables that the model requires.
      type: dict
      sample: {}
    args:
      description: Options of C(vllm serve) that the model requires. They override the profile.
      type: dict
      sample: {}
    per_image:
      description:
        - Rules for options that are required with some images only. C(image) is a pattern of references, C(vllm) a
          range of versions such as V(>=0.19,<0.26). If both are given, both must match. A range does not match an image
          of unknown version. C(args) and C(environment) are the required settings, C(why) is their source.
      type: list
      elements: dict
      returned: if it has some
    image_args:
      description:
        - Options that the image requires for the model. First those of the image's entry, then those of the matching
          rules in RV(_value[].per_image), in their order. They override RV(_value[].args).
      type: dict
      returned: with O(image)
    image_environment:
      description: Environment variables that the image requires for the model, determined in the same way.
      type: dict
      returned: with O(image)
    image_cannot_run:
      description: Why the image cannot run the model. V(none) if it can.
      type: str
      returned: with O(image)
      sample: its vLLM has no attention sinks
    image_notes:
      description: Reasons by name of the option or variable.
      type: dict
      returned: with O(image)
    reasoning_parser:
      description: Value of C(--reasoning-parser), to separate the reasoning from the answer.
      type: str
      returned: if known
      sample: qwen3
    tool_call_parser:
      description: Value of C(--tool-call-parser), for tool calls together with C(--enable-auto-tool-choice).
      type: str
      returned: if known
      sample: hermes
    tokens_per_second:
      description:
        - Published speed of vLLM for one user on one Spark, in the stored format of the weights. It is at most
          RV(_value[].roofline), except with drafts, RV(_value[].draft). Other published values are in C(sources) and
          C(notes).
      type: float
      returned: if known
      sample: 51
    good_for:
      description: Recommended uses.
      type: str
      returned: if known
    avoid_for:
      description: Uses for which another model is recommended.
      type: str
      returned: if known
    notes:
      description: Notes for operators.
      type: list
      elements: str
      returned: if known
    sources:
      description: Source of each value.
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
            return [complete(catalog.model(name, own, chosen), plain(facts or {}), catalog, chosen) for name in names]
        except CatalogError as error:
            raise AnsibleLookupError(f"model: {error}") from error
