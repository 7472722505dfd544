# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service
short_description: The vLLM service of a host, resolved from the role's variables
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Resolves everything that follows from the variables of the role C(vllm) and from a look at the host. The model, the
    image and the profile, the options of C(vllm serve) and the environment with the origin of each value, the share of
    the memory, the memory plan, and the names, folders and addresses of the service.
  - The precedence is profile, model, image, variables with a name of their own and the host, C(vllm_extra_args) and
    C(vllm_extra_env), and last what C(vllm_auto_remedy) has found. A later one wins, option by option.
  - It reads the variables of the host, and takes the role's default for those that are not set. So it works in the
    role, in another role, and in a playbook.
  - The role evaluates it once for each state of its knowledge, into C(__vllm_resolved). The validation of the role's
    variables uses the same function.
notes:
  - The result holds no secret. C(vllm_hf_token) is not read, and of C(vllm_api_key) only whether it is set.
options:
  _terms:
    description:
      - Models to resolve the service for, by name or Hugging Face id, each instead of C(vllm_model). V(*) stands for
        all models of the catalog. Without a term it is C(vllm_model).
    type: list
    elements: str
  host:
    description:
      - What is known of the host, as the module M(dgxspark.vllm.spark_info) returns it in C(spark).
      - Without it the share of the memory is not capped, and there is no memory plan.
    type: dict
    default: {}
  remedy:
    description: What C(vllm_auto_remedy) has found, variables of the role by name.
    type: dict
    default: {}
  model_info:
    description:
      - What the files of a model say, as the module M(dgxspark.vllm.model_info) returns it in C(entry). It completes a
        model with that id that no entry of the catalog describes.
    type: dict
    default: {}
seealso:
  - module: dgxspark.vllm.spark_info
  - module: dgxspark.vllm.model_info
  - module: dgxspark.vllm.check_variables
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
  - plugin: dgxspark.vllm.memory_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the command line, without a look at the host
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.service').argv | join(' ') }}"

- name: Show where each option and each environment variable comes from
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.service').lines }}"
  vars:
    vllm_profile: latency
    vllm_extra_args:
      max_num_seqs: 4
# => --max-model-len 16384           profile latency
#    --gpu-memory-utilization 0.85   profile latency
#    --max-num-batched-tokens 8192   profile latency
#    --max-num-seqs 4                vllm_extra_args, instead of 16 of profile latency

- name: Read the host
  dgxspark.vllm.spark_info:
  register: host

- name: Show which models fit into its memory
  ansible.builtin.debug:
    msg: "{{ services | selectattr('plan.fits') | map(attribute='entry.name') }}"
  vars:
    services: "{{ query('dgxspark.vllm.service', '*', host=host.spark) }}"
"""

RETURN = r"""
_value:
  description: The service, one for each term.
  type: list
  elements: dict
  contains:
    service:
      description: Its name, C(vllm_service_name).
      type: str
      sample: vllm
    unit:
      description: Its systemd unit.
      type: str
      sample: vllm.service
    watchdog:
      description: The unit and the timer of its watchdog, without the ending.
      type: str
      sample: vllm-watchdog
    home:
      description: Its folder on the host.
      type: str
      sample: /opt/vllm
    container:
      description: Name of its container.
      type: str
      sample: vllm-qwen3-8b-fp8
    address:
      description: Address of the host on which the port is published.
      type: str
      sample: 127.0.0.1
    url:
      description: How the host itself reaches the server.
      type: str
      sample: http://127.0.0.1:8000
    hf_cache:
      description: Folder on the host that holds the downloaded models, C(hf_cache_path).
      type: str
      sample: /opt/hf
    container_cache:
      description: Where that folder is mounted in the container.
      type: str
      sample: /root/.cache/huggingface
    entry:
      description: The model with what the image adds to it, as the lookup P(dgxspark.vllm.model#lookup) returns it.
      type: dict
    image:
      description: The image, as the lookup P(dgxspark.vllm.image#lookup) returns it.
      type: dict
    image_ref:
      description: The reference that is pulled, with C(vllm_image_registry) in it.
      type: str
      sample: nvcr.io/nvidia/vllm:25.09-py3
    profile:
      description: Name of the profile.
      type: str
      sample: throughput
    args:
      description: The options of C(vllm serve) by name, in their order. An option with V(none) is dropped.
      type: dict
      sample: {max_model_len: 32768, gpu_memory_utilization: 0.9}
    environment:
      description: The environment variables of the container by name, without the secrets.
      type: dict
      sample: {HF_HUB_OFFLINE: "1"}
    explained:
      description:
        - One entry for each option and variable, with C(kind) (V(args) or V(environment)), C(name), C(value), C(from),
          C(note), and C(at), where the value is written. In C(over) the values that lost, the strongest first.
      type: list
      elements: dict
    lines:
      description: The same as text, one line each, the options first.
      type: list
      elements: str
      sample: ["--max-model-len 32768  profile throughput"]
    argv:
      description: The command of the container.
      type: list
      elements: str
      sample: [vllm, serve, Qwen/Qwen3-8B-FP8, --max-model-len, "32768"]
    served_name:
      description: The name of the model that clients ask for.
      type: str
      sample: Qwen/Qwen3-8B-FP8
    is_offline:
      description: Whether the server never asks the hub.
      type: bool
      sample: true
    gpu:
      description:
        - How the container gets the GPU, V(cdi), V(nvidia) or V(none). C(vllm_gpu) V(auto) is V(cdi) on a host that
          offers the GPU by CDI, and V(nvidia) otherwise.
      type: str
      sample: cdi
    memory_bytes:
      description: Memory of the host. V(0) if the host was not read.
      type: int
      sample: 130674379980
    memory_gib:
      description: The same in GiB.
      type: float
      sample: 121.7
    other_services:
      description:
        - Other services of this collection on the host that hold memory, entries of C(spark.services). A service that
          has to give up its port for this one is not among them.
      type: list
      elements: dict
      sample: []
    other_services_gib:
      description: What they hold by their plans.
      type: float
      sample: 0.0
    utilization:
      description: The share of the memory that vLLM takes, the smaller one of wish and cap.
      type: float
      sample: 0.9
    utilization_wish:
      description: What C(vllm_gpu_memory_utilization) or the profile says.
      type: float
      sample: 0.9
    utilization_cap:
      description:
        - The largest share that the host can give, less C(vllm_memory_reserve_gib) and RV(_value[].other_services).
          V(1.0) if the host was not read. Not above 0 if the reserve alone is more than the host has.
      type: float
      sample: 0.91
    capped_by:
      description: What the cap is made of, as text.
      type: str
      sample: 121.7 GiB, less 10 GiB of vllm_memory_reserve_gib
    plan:
      description:
        - The memory plan, as the filter P(dgxspark.vllm.memory_plan#filter) makes it. Empty without a look at the host,
          and for a model of which the size or the context is not known.
      type: dict
    needed_bytes:
      description: What the plan wants at the start. V(0) without a plan or a GPU.
      type: int
      sample: 117606941982
    available_bytes:
      description: Memory of the host that is available now. V(0) if the host was not read.
      type: int
      sample: 124554051584
    own_services:
      description: What runs of this service now, entries of C(spark.services).
      type: list
      elements: dict
      sample: []
    comes_free_bytes:
      description: Memory that a start of the service finds when what runs of it has ended.
      type: int
      sample: 124554051584
    memory_is_taken:
      description: Whether something that is not of this collection uses memory that the start needs.
      type: bool
      sample: false
    container_release:
      description: Release that the container of the service is of. Empty if there is none.
      type: str
      sample: 0123456789ab
    facts:
      description: What programs on the host have to know of a release, for its file C(release.json).
      type: dict
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.variables import read_variables, with_defaults
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import ChoiceError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import READS, ResolveError, resolve


class LookupModule(LookupBase):
    def run(
        self,
        terms: list[t.Any],
        variables: dict[str, t.Any] | None = None,
        host: t.Any = None,
        remedy: t.Any = None,
        model_info: t.Any = None,
        **kwargs: t.Any,
    ) -> list[dict[str, t.Any]]:
        if kwargs:
            raise AnsibleLookupError(f"service: {', '.join(kwargs)} is not an option; use host, remedy or model_info")
        for name, value in (("host", host), ("remedy", remedy), ("model_info", model_info)):
            if not isinstance(value or {}, t.Mapping):
                raise AnsibleLookupError(f"service: {name} must be a mapping")
        known = options_of("vllm")
        values = self._values(known, variables or {})
        catalog = Catalog()
        models = [name for term in terms for name in (catalog.models(values["vllm_models"]) if term == "*" else [term])]
        found = []
        for wanted in [{"vllm_model": model} for model in models] or [{}]:
            typed, _lines = TypedValues.of(known, {**values, **wanted})
            try:
                service = resolve(typed, catalog, plain(host or {}), plain(remedy or {}), plain(model_info or {}))
            except (ChoiceError, ResolveError) as error:
                raise AnsibleLookupError(f"service: {error}") from error
            found.append(service.as_dict())
        return found

    def _values(self, known: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """The variables of the host, with the role's defaults for what is not set."""
        available = with_defaults(known, variables)
        values, errors = read_variables([name for name in READS if name in available], available, self._templar)
        for name, error in errors.items():
            raise AnsibleLookupError(f"service: {name}: cannot be read") from error
        _typed, lines = TypedValues.of(known, values)
        if lines:
            raise AnsibleLookupError(f"service: {lines[0]}")
        return values
