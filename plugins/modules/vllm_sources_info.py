#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_sources_info
short_description: Check what a vLLM service mounts from its host
version_added: "0.1.0"
description:
  - Checks the folder of a model, and the files and folders that are going to be mounted into the container. Fails with
    one line for each problem, and changes nothing.
  - The folder of a model must be complete. Its C(config.json), index of the weights, weights and tokenizer are looked
    for, and the header of each weights file is compared with its length.
  - No path may lead through a link of a user other than root to what is not the user's own.
  - A source must be a file or a folder. It must not lead to a folder of the system, of root, of Docker or of a service
    of this collection, nor lie in a folder that the container may write.
extends_documentation_fragment:
  - dgxspark.vllm.attributes
options:
  model:
    description: Absolute path of the folder of the model, if it is served from a folder.
    type: path
  sources:
    description: Files and folders of the host, as returned in C(mounts) by the lookup P(dgxspark.vllm.service#lookup).
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Absolute path.
        type: path
        required: true
      target:
        description: Path in the container. Not used.
        type: path
      read_only:
        description: Whether the container may only read it.
        type: bool
        default: true
      origin:
        description: Variable, for messages.
        type: str
        required: true
  home:
    description: Folder of the service.
    type: path
    required: true
  cache_path:
    description: Absolute path of the Hugging Face cache.
    type: path
    required: true
  docker_root:
    description: Folder in which Docker keeps its data.
    type: path
seealso:
  - module: dgxspark.vllm.model_info
  - plugin: dgxspark.vllm.service
    plugin_type: lookup
author:
  - The dgxspark.vllm authors (@dgxspark)
"""

EXAMPLES = r"""
- name: Check the folder of a model
  dgxspark.vllm.vllm_sources_info:
    model: /srv/models/mine
    home: /opt/vllm
    cache_path: /opt/hf

- name: Check a folder that the container is to see
  dgxspark.vllm.vllm_sources_info:
    sources:
      - source: /srv/data
        origin: vllm_mounts[0]
    home: /opt/vllm
    cache_path: /opt/hf
"""

RETURN = r"""
problems:
  description: One line for each problem. The message of the failed task is these lines.
  returned: always
  type: list
  elements: str
  sample: ["vllm_mounts[0]: /srv/data does not exist on this host; create it there, or correct the path"]
real_paths:
  description: What the cache, the sources and the folder of the model lead to, by their path.
  returned: success
  type: dict
  sample: {"/opt/hf": "/opt/hf", "/srv/data": "/mnt/disk/data"}
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.sources import (
    Place,
    Source,
    foreign_link,
    problems,
    real_paths,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import memory
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.layout import CacheError, shown
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.model_folder import by_id, lacks, root_of

INSTEAD = "copy the model there, or correct the path"


def model_problem(folder: str, place: Place) -> str | None:
    """Why the model cannot be served from its folder, as one line; None if it can."""
    at = f"vllm_model: {folder}"
    if not os.path.lexists(folder):
        return f"{at} does not exist on this host; {INSTEAD}"
    if not os.path.isdir(folder):
        return f"{at} is no folder; name the folder that holds config.json, weights and tokenizer"
    is_of_cache = root_of(folder, place.cache) == os.path.realpath(place.cache)
    if is_of_cache and os.path.realpath(folder) != os.path.normpath(folder):
        return f"{at} leads into the model cache; write {os.path.realpath(folder)}"
    if not is_of_cache:
        lines = problems([Source("vllm_model", folder, False)], place)
        if lines:
            return lines[0]
    gaps = lacks(folder, place.cache)
    if gaps:
        how, instead = "copy the model there again (cp -rL takes files for links)", by_id(folder, place.cache)
        if instead:
            how = f"use {shown(instead)}, or copy the model with cp -rL, which takes files for links"
        return f"{at} is not complete: {shown(gaps)}; {how}"
    return None


def main() -> None:
    source = {
        "source": {"type": "path", "required": True},
        "target": {"type": "path"},
        "read_only": {"type": "bool", "default": True},
        "origin": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "path"},
            "sources": {"type": "list", "elements": "dict", "default": [], "options": source},
            "home": {"type": "path", "required": True},
            "cache_path": {"type": "path", "required": True},
            "docker_root": {"type": "path"},
        },
        supports_check_mode=True,
    )
    options = module.params
    place = Place(options["home"], options["cache_path"], options["docker_root"])
    sources = [Source(each["origin"], each["source"], not each["read_only"]) for each in options["sources"]]
    try:
        with memory.limited():
            wrong = model_problem(options["model"], place) if options["model"] else None
            link = foreign_link(place.cache)
            found = [*([f"hf_cache_path: {place.cache} {link}"] if link else []), *([wrong] if wrong else [])]
            found += problems(sources, place)
    except CacheError as error:
        found = [f"vllm_model: {error}"]
    except OSError as error:
        found = [f"{error.filename or options['home']}: {error.strerror}; run this task with become: true"]
    if found:
        module.fail_json(msg="\n".join(found), problems=found)
    if options["model"]:
        sources.append(Source("vllm_model", options["model"], False))
    module.exit_json(changed=False, problems=[], real_paths=real_paths(sources, place.cache))


if __name__ == "__main__":
    main()
