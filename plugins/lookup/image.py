# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: image
short_description: Look up a container image in the catalog
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Returns the version of vLLM in an image, its command, and its known faults, by the reference of the image.
  - The images of the catalog are in the file C(catalog/images.yml). The variable C(vllm_images) adds images, or changes
    fields of known ones. It is merged over the catalog by reference and key.
  - A digest after the tag, as in C(REPOSITORY:TAG@sha256:...), is kept, but ignored in the search. A digest without a
    tag matches an entry of the same repository with this C(digest).
  - Unknown images are rejected, unless the variable C(vllm_image_allow) contains V(unknown).
notes:
  - An entry of C(vllm_images) may be an empty mapping. Set C(vllm), the version of vLLM in the image, so that the
    options can be validated.
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
- name: Show the version of vLLM in an image
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.image', 'nvcr.io/nvidia/vllm:25.09-py3').vllm }}"
# => 0.10.1.1

# In the inventory: a user-defined image
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
      description: The requested reference.
      type: str
      sample: nvcr.io/nvidia/vllm:25.09-py3
    key:
      description: Reference in the catalog. It has a tag even if O(_terms) has a digest only.
      type: str
      sample: nvcr.io/nvidia/vllm:25.09-py3
    registry:
      description: Registry of the reference.
      type: str
      sample: nvcr.io
    path:
      description: The reference without the registry, as used with a mirror.
      type: str
      sample: nvidia/vllm:25.09-py3
    vllm:
      description: Version of vLLM. V(none) if not known.
      type: str
      sample: 0.10.1.1
    cuda:
      description: Version of CUDA. V(none) if not known.
      type: str
      sample: "13.0"
    min_driver:
      description: Oldest supported driver. V(none) if not known.
      type: str
      sample: "580"
    nccl:
      description: Version of NCCL, which decides whether two hosts can serve a model together. V(none) if not known.
      type: str
      sample: 2.29.7
    pull_bytes:
      description: Compressed size, as pulled.
      type: int
      returned: if known
    unpacked_bytes:
      description: Size on the disk of the host.
      type: int
      returned: if known
    entrypoint:
      description: Entry point of the image.
      type: list
      elements: str
      returned: if known
      sample: [vllm, serve]
    architectures:
      description: Model architectures of its vLLM, if they were read from the image itself.
      type: list
      elements: str
      returned: if known
    options:
      description: Options that its vLLM has beside those of its version.
      type: list
      elements: str
      returned: if known
    command_prefix:
      description:
        - Arguments of the container before the model. Empty if the entry point of the image is C(vllm serve).
        - The default is C([vllm, serve]), or an empty list for images of vllm/vllm-openai.
      type: list
      elements: str
      sample: [vllm, serve]
    digest:
      description: Digest of the manifest. References with another digest are rejected.
      type: str
      returned: if known
    ray:
      description: Whether the image contains Ray. V(none) if not known.
      type: bool
      sample: true
    multi_node:
      description: Whether vLLM supports several hosts without Ray (C(--nnodes)). V(none) if not known.
      type: bool
      sample: false
    args:
      description: Options of C(vllm serve) that the image requires with every model. They override those of the model.
      type: dict
      sample: {}
    environment:
      description: Environment variables that the image requires with every model.
      type: dict
      sample: {}
    status:
      description:
        - V(good) if it is reported to work on a Spark, V(avoid) if it is known to be broken there, else V(unknown).
      type: str
      sample: good
    faults:
      description:
        - Known faults, each with C(what), and if known C(remedy) and C(fixed_in).
        - A deployment warns about them. A fault with C(only_with) is reported only if the option of vLLM, environment
          variable or variable of the role in it has the given value. C(playbooks/explain.yml) shows all faults.
      type: list
      elements: dict
    cannot_run:
      description: Patterns of Hugging Face IDs that the image cannot serve, with the reason.
      type: dict
      sample:
        openai/gpt-oss-*: its vLLM has no attention sinks
    security:
      description:
        - Security advisories of its vLLM, by the version. An entry of C(vllm_images) overrides the list, for a build
          with a fix of its own.
        - An image that has one is not published beyond loopback, unless C(vllm_image_allow) contains V(advisory).
      type: list
      elements: str
      sample: [CVE-2026-48746]
    security_with_key:
      description:
        - Security advisories of its vLLM that need the API key, because the middleware of this collection asks for it
          on each path. C(playbooks/explain.yml) names them.
        - Empty if the entry has a list C(security) of its own.
      type: list
      elements: str
      sample: [PYSEC-2026-4344]
    sources:
      description: Source of each value.
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
