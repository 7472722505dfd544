# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: release_export
short_description: Write a release as a folder that Docker Compose starts without Ansible
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Writes C(compose.yaml), C(release.json), C(README.md), the files that the container mounts from the folder of the
    release, and C(env.example) with the names of the secrets, if it has any.
  - The image is named by its digest if a registry has given it one. Compile caches are beside the Compose file. Other
    mounts stay as they are.
  - Values of secrets are not written. A release with an option that may be a secret is rejected.
  - Runs on the controller and opens no connection.
options:
  compose:
    description: Text of the C(compose.yaml) of the release.
    type: str
    required: true
  facts:
    description: Content of its C(release.json).
    type: dict
    required: true
  image:
    description: Content of its C(image.json).
    type: dict
    default: {}
  home:
    description: Folder of the service on the host.
    type: path
    required: true
  commits:
    description: Commits of the models in the cache of the host, by ID of the model and by branch or tag.
    type: dict
    default: {}
  files:
    description: Content in Base64 of the files of the release, by their path in its folder.
    type: dict
    default: {}
  path:
    description:
      - Folder on the controller. It is created, with the mode 0700. A relative path starts in the working directory of
        C(ansible-playbook).
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
  diff_mode:
    support: none
    description: There is no diff.
  idempotent:
    support: full
    description: The files of a release are the same each time.
"""

EXAMPLES = r"""
- name: Read the Compose file of the current release
  ansible.builtin.slurp:
    src: /opt/vllm/current/compose.yaml
  register: compose

- name: Export the release
  dgxspark.vllm.release_export:
    compose: "{{ compose.content | b64decode }}"
    facts: {release: 0123456789ab, model: Qwen/Qwen3-8B-FP8, profile: throughput}
    home: /opt/vllm
    path: exports/spark01/vllm-0123456789ab
"""

RETURN = r"""
path:
  description: Absolute path of the folder.
  returned: success
  type: str
  sample: /home/operator/exports/spark01/vllm-0123456789ab
secrets:
  description: Names of the variables that the file C(.env) in it has to have before it can be started.
  returned: success
  type: list
  elements: str
  sample: [VLLM_API_KEY]
"""
