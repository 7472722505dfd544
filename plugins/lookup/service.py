# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service
short_description: Resolve the vLLM service of a host from the role's variables
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Resolves the variables of the role C(vllm) and the state of the host to one description of the service. It contains
    model, image and profile, the options of C(vllm serve) and the environment with the origin of each value, the share
    of the memory, the memory plan, and the names, folders and addresses of the service.
  - C(docs/reference/memory.md#where-each-option-comes-from) states the precedence. It applies to each option
    separately.
  - Variables that are not set have the default of the role, so the lookup works in other roles and playbooks, too.
  - The role evaluates it again when more is known of the host, and stores the result in C(__vllm_resolved). The
    validation of the role's variables uses the same function.
notes:
  - The result contains no secrets. C(vllm_hf_token) is not read, and C(vllm_api_key) is only tested for being set.
  - The files of C(vllm_files) are read on the controller for their hash. Their content is not in the result.
options:
  _terms:
    description:
      - Models to resolve the service for, by name or Hugging Face ID. V(*) stands for all models of the catalog. The
        default is C(vllm_model).
    type: list
    elements: str
  host:
    description:
      - State of the host, as returned in C(spark) by M(dgxspark.vllm.spark_info).
      - Without it the share of the memory is not capped, and there is no memory plan.
    type: dict
    default: {}
  remedy:
    description: Remedy of C(vllm_auto_remedy), as variables of the role by name.
    type: dict
    default: {}
  model_info:
    description:
      - Properties from the files of a model, as returned in C(entry) by M(dgxspark.vllm.model_info). They complete a
        model with that ID that has no entry in the catalog.
    type: dict
    default: {}
  image_probe:
    description:
      - What M(dgxspark.vllm.vllm_image_probe) has returned for the image. It decides RV(_value[].image_refusal) and
        RV(_value[].probe_problems), and changes nothing else.
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
- name: Show the command line, without the state of the host
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.service').argv | join(' ') }}"

- name: Show the origin of each option and environment variable
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

- name: Show the models that fit into its memory
  ansible.builtin.debug:
    msg: "{{ services | selectattr('plan.fits') | map(attribute='entry.name') }}"
  vars:
    services: "{{ query('dgxspark.vllm.service', '*', host=host.spark) }}"
"""

RETURN = r"""
_value:
  description: One service for each term.
  type: list
  elements: dict
  contains:
    unit:
      description: systemd unit of the service.
      type: str
      sample: vllm.service
    watchdog:
      description: Name of the unit and the timer of the watchdog, without suffix.
      type: str
      sample: vllm-watchdog
    home:
      description: Folder of the service on the host.
      type: str
      sample: /opt/vllm
    container:
      description: Name of the container.
      type: str
      sample: vllm-qwen3-8b-fp8
    containers:
      description:
        - What the host runs for the service. One container with the name RV(_value[].container); the head of hosts that
          serve together by Ray has a second one, with a check that the one that names it in C(after) waits for.
      type: list
      elements: dict
      sample: [{name: vllm-x, entrypoint: [], command: [vllm, serve, x/y], after: "", check: [], check_seconds: 0}]
    address:
      description: Address of the host on which the port is published.
      type: str
      sample: 127.0.0.1
    url:
      description: URL of the server on the host.
      type: str
      sample: http://127.0.0.1:8000
    hf_cache:
      description:
        - Folder of the downloaded models on the host, C(hf_cache_path), or C(hub) below it where O(host) says that they
          are there.
      type: str
      sample: /opt/hf
    container_cache:
      description: Mount point of that folder in the container.
      type: str
      sample: /root/.cache/huggingface
    compile_cache:
      description: Folder on the host that the container has at C(/root/.cache), for what vLLM compiles.
      type: str
      sample: /opt/vllm/cache
    user:
      description: C(vllm_container_user), the numbers of user and group. Empty for the user of the image.
      type: str
      sample: ""
    require_key_file:
      description: Path in the container of the middleware that asks for the API key, mounted if C(vllm_api_key) is set.
      type: str
      sample: /opt/dgxspark/dgxspark_require_key.py
    hf_cache_read_only:
      description: Whether the container gets the model cache read-only. Requires a server that is offline.
      type: bool
      sample: true
    mounts:
      description:
        - What the container sees in addition to the folders of the collection, a model in a folder of the host,
          C(vllm_files) and C(vllm_mounts). Each has C(source), C(target), C(read_only) and C(origin), the variable.
        - A relative C(source) lies in the folder of the release.
      type: list
      elements: dict
      sample: [{source: /srv/models/mine, target: /models/mine, read_only: true, origin: vllm_model}]
    files:
      description:
        - Files of C(vllm_files), each content once, with C(name), its path in the folder of the release. C(path) is the
          file on the controller, empty for the C(content) of the item with that C(number).
      type: list
      elements: dict
      sample: [{name: files/0123456789abcdef, path: /home/me/template.jinja, number: 0}]
    entry:
      description: The model with the settings of the image, as returned by the lookup P(dgxspark.vllm.model#lookup).
      type: dict
    repositories:
      description:
        - Repositories of the hub that the server reads, the model first, then the draft model if it is one of its own.
        - C(bytes) is the size of the weights, or V(null).
      type: list
      elements: dict
      sample: [{id: Qwen/Qwen3-8B-FP8, revision: main, bytes: 9446618616}]
    image:
      description: The image, as returned by the lookup P(dgxspark.vllm.image#lookup).
      type: dict
    image_ref:
      description: Reference that is pulled, including C(vllm_image_registry).
      type: str
      sample: nvcr.io/nvidia/vllm:25.09-py3
    image_refusal:
      description:
        - Why the image cannot run the model, with an image that can. Empty if it can, or if C(vllm_image_allow) has
          V(cannot_run).
        - The answer of the image in O(image_probe) counts more than the catalog.
      type: str
    probe_problems:
      description:
        - Options and parsers that the image does not have by its answer in O(image_probe), and a C(command_prefix) that
          does not fit its entry point, one line each. Empty without an answer.
      type: list
      elements: str
      sample: []
    profile:
      description: Name of the profile.
      type: str
      sample: throughput
    args:
      description: Options of C(vllm serve) by name, in their order. Options with V(none) are dropped.
      type: dict
      sample: {max_model_len: 32768, gpu_memory_utilization: 0.9}
    environment:
      description: Environment variables of the container by name, without secrets.
      type: dict
      sample: {HF_HUB_OFFLINE: "1", HF_MODULES_CACHE: /root/.cache/huggingface-modules}
    lines:
      description:
        - One line for each option and variable, the options first, with its value and its origin. The origin names the
          overridden values, too, the one with the highest precedence first.
      type: list
      elements: str
      sample: ["--max-model-len 32768  profile throughput"]
    entrypoint:
      description: C(vllm_entrypoint), which replaces the entry point of the image. Empty keeps that.
      type: list
      elements: str
      sample: []
    argv:
      description: Command of the container.
      type: list
      elements: str
      sample: [vllm, serve, Qwen/Qwen3-8B-FP8, --max-model-len, "32768"]
    arguments:
      description: What follows C(vllm serve) in it.
      type: list
      elements: str
      sample: [Qwen/Qwen3-8B-FP8, --max-model-len, "32768"]
    served_name:
      description: Name of the model in requests.
      type: str
      sample: Qwen/Qwen3-8B-FP8
    gpu:
      description:
        - Method to pass the GPU to the container, V(cdi), V(nvidia) or V(none). With C(vllm_gpu) V(auto) it is V(cdi)
          on a host with a CDI specification of the GPU, and V(nvidia) otherwise.
      type: str
      sample: cdi
    nodes:
      description:
        - Hosts that serve the model together, in the order of their ranks, each with C(host), its name in the
          inventory, and C(address), its C(vllm_node_address). Empty for a host that serves alone.
      type: list
      elements: dict
      sample: [{host: spark01, address: 192.168.100.1}, {host: spark02, address: 192.168.100.2}]
    rank:
      description: Number of this host among them. V(0) is the head, which has the API, or a host that serves alone.
      type: int
    by_ray:
      description: Whether these hosts serve by Ray, because vLLM of the image does not span hosts by itself.
      type: bool
    devices:
      description: Devices of the host for RDMA that the container gets. Empty for a host that serves alone.
      type: list
      elements: str
      sample: [/dev/infiniband]
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
        - Other services of this collection on the host that use memory, entries of C(spark.services). A service that
          will be stopped because it uses the same port is excluded.
      type: list
      elements: dict
    other_services_gib:
      description: Memory of these services by their plans.
      type: float
    utilization:
      description: Share of the memory for vLLM, the smaller of the requested share and the cap.
      type: float
      sample: 0.9
    utilization_wish:
      description: Share that the variables, the profile or O(remedy) ask for, by the precedence.
      type: float
      sample: 0.9
    utilization_cap:
      description:
        - Largest possible share on the host, without C(vllm_memory_reserve_gib), RV(_value[].other_services) that it
          does not fit beside, and what C(cpu_offload_gb) and C(kv_offloading_size) take. V(1.0) if the host was not
          read. 0 or less if the reserve exceeds the memory of the host.
      type: float
      sample: 0.91
    capped_by:
      description: Computation of the cap, as text.
      type: str
      sample: 121.7 GiB, less 10 GiB of vllm_memory_reserve_gib
    capped_for:
      description: Other services that the cap leaves room for. Empty if the share is not capped.
      type: list
      elements: str
    plan:
      description:
        - Memory plan, as returned by the filter P(dgxspark.vllm.memory_plan#filter). Empty if the host was not read, or
          if the size or the context of the model is not known.
      type: dict
    needed_bytes:
      description: Free memory that the plan requires at the start. V(0) without a plan or a GPU.
      type: int
      sample: 117606941982
    available_bytes:
      description: Currently available memory of the host. V(0) if the host was not read.
      type: int
      sample: 124554051584
    own_services:
      description: Running containers of this service, entries of C(spark.services).
      type: list
      elements: dict
      sample: []
    comes_free_bytes:
      description: Memory that will be available after the running containers of this service have stopped.
      type: int
      sample: 124554051584
    memory_is_taken:
      description:
        - Whether memory that the start requires is in use, by software outside of this collection or by the services in
          RV(_value[].oversized).
      type: bool
      sample: false
    oversized:
      description:
        - Other services of C(vllm_services) that hold more memory than their part of RV(_value[].budget) until they
          are deployed again.
      type: list
      elements: dict
      sample: []
    container_release:
      description: Release of the container of the service. Empty if there is none.
      type: str
      sample: 0123456789ab
    host_faults:
      description:
        - Kernel and driver of the host, if they are known to be bad for this service, each with C(what) and C(remedy).
          The catalog lists them in the file C(catalog/hosts.yml).
        - For hosts that serve together also missing devices for RDMA, and a half of a port of the ConnectX-7 that is
          not used.
      type: list
      elements: dict
      sample: []
    budget:
      description:
        - What each service of C(vllm_services) may take of the memory, in the order of that list, as text. Empty for a
          service that is alone on its host, and if the host was not read.
      type: list
      elements: str
      sample: ["vllm 0.81 (98.6 GiB, what the others leave)", "vllm-embed 0.10 (12.2 GiB)"]
    budget_problem:
      description: One line, if the services of the list do not fit together, or if others leave nothing for this one.
      type: str
      sample: ""
    copies:
      description: What it costs that several services of the list serve the same model, a line for each model.
      type: list
      elements: str
      sample: []
    swap_others:
      description:
        - The other services of C(vllm_swap_group) on the host, each with C(host), its name in the inventory,
          C(service), C(unit), C(home) and C(is_earlier), whether it precedes this one in C(vllm_services).
        - Empty without a group.
      type: list
      elements: dict
      sample: []
    facts:
      description: Content of the file C(release.json) of the release, for programs on the host.
      type: dict
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.variables import read_variables, with_defaults
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.owner_files import OwnerFileError, read_owner_files
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.budget import budget
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import ChoiceError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.inventory import InventoryError, members, siblings
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import READS, ResolveError, resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.services import HOST
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.swap import others


class LookupModule(LookupBase):
    def run(
        self,
        terms: list[t.Any],
        variables: dict[str, t.Any] | None = None,
        host: t.Any = None,
        remedy: t.Any = None,
        model_info: t.Any = None,
        image_probe: t.Any = None,
        **kwargs: t.Any,
    ) -> list[dict[str, t.Any]]:
        if kwargs:
            options = "host, remedy, model_info or image_probe"
            raise AnsibleLookupError(f"service: {', '.join(kwargs)} is not an option; use {options}")
        given = {"host": host, "remedy": remedy, "model_info": model_info, "image_probe": image_probe}
        if wrong := [name for name, value in given.items() if not isinstance(value or {}, t.Mapping)]:
            raise AnsibleLookupError(f"service: {wrong[0]} must be a mapping")
        known = options_of("vllm")
        values = self._values(known, variables or {})
        catalog = Catalog()
        try:
            files = read_owner_files(values["vllm_files"])
        except OwnerFileError as error:
            raise AnsibleLookupError(f"service: {error}") from error
        models = [name for term in terms for name in (catalog.models(values["vllm_models"]) if term == "*" else [term])]
        state, remedied, info, probe = (plain(value or {}) for value in given.values())
        found = []
        try:
            nodes = members(values["vllm_nodes"], variables or {}, self._templar, known)
            beside = siblings(variables or {}, self._templar, known, READS)
            shares = budget(beside, catalog, state)
            turns = others(values["vllm_service_name"], (variables or {}).get(HOST, ""), beside)
        except InventoryError as error:
            raise AnsibleLookupError(f"service: {error}") from error
        for wanted in [{"vllm_model": model} for model in models] or [{}]:
            typed, _lines = TypedValues.of(known, {**values, **wanted})
            try:
                service = resolve(typed, catalog, state, remedied, info, files, probe, nodes, shares, turns)
            except (ChoiceError, ResolveError) as error:
                raise AnsibleLookupError(f"service: {error}") from error
            found.append(service.as_dict())
        return found

    def _values(self, known: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """The variables of the host, with the role's defaults for what is not set."""
        available = with_defaults(known, variables)
        names = [name for name in (*READS, "vllm_files") if name in available]
        values, errors = read_variables(names, available, self._templar)
        for name, error in errors.items():
            raise AnsibleLookupError(f"service: {name}: cannot be read") from error
        _typed, lines = TypedValues.of(known, values)
        if lines:
            raise AnsibleLookupError(f"service: {lines[0]}")
        return values
