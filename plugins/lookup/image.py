# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: image
short_description: A container image of the image matrix
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Looks an image up by its reference, and tells which vLLM it holds, how it is called, and what is broken in it.
  - The collection knows the images of its file C(catalog/images.yml). The variable C(vllm_images) adds
    images, or changes fields of a known one. It is merged over the collection's entries by reference, mappings key by
    key.
  - A digest behind the tag, as in C(REPOSITORY:TAG@sha256:...), is kept, and ignored in the search. A digest without a
    tag is found if an entry of the same repository has it as its C(digest).
  - An image that is not known is refused, unless the variable C(vllm_image_allow) holds V(unknown).
notes:
  - An entry of C(vllm_images) may be an empty mapping. Give it C(vllm), the version of vLLM inside, so that the
    options can be checked.
options:
  _terms:
    description: References of images.
    type: list
    elements: str
    required: true
seealso:
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Which vLLM is in it?
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.image', 'nvcr.io/nvidia/vllm:25.09-py3').vllm }}"
# => 0.10.1.1

# In the inventory: an image of your own
# vllm_image: registry.example.org/vllm-gb10:2026-11-01
# vllm_images:
#   registry.example.org/vllm-gb10:2026-11-01:
#     vllm: "0.32.0"
#     command_prefix: []
"""

RETURN = r"""
_value:
  description: The image.
  type: list
  elements: dict
  contains:
    ref:
      description: The reference as it was asked for.
      type: str
      sample: nvcr.io/nvidia/vllm:25.09-py3
    key:
      description: The reference under which the matrix knows it, which has a tag where O(_terms) has a digest alone.
      type: str
      sample: nvcr.io/nvidia/vllm:25.09-py3
    registry:
      description: The registry in it.
      type: str
      sample: nvcr.io
    path:
      description: The reference without its registry, as a mirror wants it.
      type: str
      sample: nvidia/vllm:25.09-py3
    vllm:
      description: Version of vLLM inside. V(none) if it is not known.
      type: str
      sample: 0.10.1.1
    cuda:
      description: Version of CUDA inside. V(none) if it is not known.
      type: str
      sample: "13.0"
    min_driver:
      description: Oldest driver that it runs on. V(none) if it is not known.
      type: str
      sample: "580"
    command_prefix:
      description:
        - What a container's command needs before the model. Empty where the image's entry point is C(vllm serve)
          already.
        - An entry without it gets C([vllm, serve]), or nothing if it is an image of vllm/vllm-openai.
      type: list
      elements: str
      sample: [vllm, serve]
    digest:
      description: Digest of its manifest. A reference with another one is refused.
      type: str
      returned: if known
    ray:
      description: Whether Ray is in it. V(none) if it is not known.
      type: bool
      sample: true
    multi_node:
      description: Whether its vLLM spans hosts by itself, with C(--nnodes). V(none) if it is not known.
      type: bool
      sample: false
    args:
      description: Options of C(vllm serve) that it needs with every model. They win over the model's.
      type: dict
      sample: {}
    environment:
      description: Environment variables that it needs with every model.
      type: dict
      sample: {}
    status:
      description:
        - V(good) if somebody reports that it works on a Spark, V(avoid) if it is known to be broken there, V(unknown)
          otherwise.
      type: str
      sample: good
    faults:
      description:
        - Known faults, each with C(what), and if known C(remedy) and C(fixed_in).
        - A deployment warns of them. One with C(only_with) is for those alone who set what it names, an option of vLLM,
          an environment variable or a variable of the role, to that value. C(playbooks/explain.yml) shows all.
      type: list
      elements: dict
    cannot_run:
      description: Patterns of Hugging Face ids that it cannot serve, with the reason.
      type: dict
      sample:
        openai/gpt-oss-*: its vLLM has no attention sinks
    sources:
      description: Where each value comes from.
      type: dict
      returned: if known
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog, CatalogError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain


class LookupModule(LookupBase):
    def run(
        self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        own = plain(self._templar.template((variables or {}).get("vllm_images") or {}))
        if not isinstance(own, dict):
            raise AnsibleLookupError("vllm_images: is not allowed; use a mapping of images by reference")
        allowed = plain(self._templar.template((variables or {}).get("vllm_image_allow") or []))
        try:
            return [Catalog().image(str(term), own, "unknown" in allowed) for term in terms]
        except CatalogError as error:
            raise AnsibleLookupError(f"image: {error}") from error
