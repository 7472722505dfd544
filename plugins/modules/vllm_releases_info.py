#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the releases of a vLLM service on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_releases_info
short_description: Lists the releases of a vLLM service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - A release is a folder that the role P(dgxspark.vllm.vllm#role) rendered for one deployment. It is never edited.
  - Lists the releases on the host, the one that is in service, and when each of them was last verified as good.
  - To mark a release as good, and to remove outdated releases, see M(dgxspark.vllm.vllm_release).
options:
  home:
    description: Folder of the service on the host, as C(vllm_home) of the role P(dgxspark.vllm.vllm#role).
    type: path
    required: true
  service:
    description:
      - Name of the service, as C(vllm_service_name) of the role P(dgxspark.vllm.vllm#role). With it, the module finds
        out whether O(home) and the systemd units of that name belong to it. See RV(refusal).
    type: str
  cache_path:
    description:
      - Folder that the container of O(service) writes, as C(hf_cache_path) of the role P(dgxspark.vllm.hf_cache#role).
        Neither of it and O(home) may lie in the other.
    type: path
extends_documentation_fragment:
  - dgxspark.vllm.attributes
notes:
  - Requires root.
seealso:
  - module: dgxspark.vllm.vllm_release
"""

EXAMPLES = r"""
- name: List the releases
  dgxspark.vllm.vllm_releases_info:
    home: /opt/vllm
  become: true
  register: releases

- name: Show the release that a rollback would return to
  ansible.builtin.debug:
    msg: "{{ releases.previous }}"
"""

RETURN = r"""
current:
  description: The release that the systemd unit starts. V(null) if there is none.
  returned: success
  type: str
  sample: 0123456789ab
good:
  description: The release that was verified last. V(null) if there is none.
  returned: success
  type: str
  sample: 0123456789ab
previous:
  description: The release that a rollback from RV(current) returns to, which is the last good one apart from it.
  returned: success
  type: str
  sample: ba9876543210
next_number:
  description: Number that the next release that is staged or verified gets. Releases are in the order of their numbers.
  returned: success
  type: int
  sample: 7
releases:
  description: All releases, the one that was verified last first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Name of the release.
      type: str
      returned: always
      sample: 0123456789ab
    good:
      description: Time at which it was last verified, in seconds since 1970. V(null) if it never was.
      type: float
      returned: always
      sample: 1795644000.0
    staged:
      description: >-
        Time at which its file C(release.json) was last written, in seconds since 1970. V(null) if it has none, because
        an older version of this collection has staged it or the staging was broken off.
      type: float
      returned: always
      sample: 1795640400.0
    started:
      description:
        - Time of the last switch to it before it was verified, in seconds since 1970. V(null) if there was none.
        - Also V(null) if an older version of this collection has written the release. Its file C(release.json) has no
          C(starts_are_recorded) then.
      type: float
      returned: always
      sample: 1795643000.0
    facts:
      description: Content of its file C(release.json), with the model, image, container and URL among others.
      type: dict
      returned: always
      sample: {"model": "Qwen/Qwen3-8B-FP8", "image": "nvcr.io/nvidia/vllm:25.09-py3"}
    other_secrets:
      description:
        - Names of the secrets that it needs, and for which it has a value in its file C(.env) that RV(current) does not
          have. A rollback to it brings these values back.
      type: list
      elements: str
      returned: always
      sample: [VLLM_API_KEY]
    replaced_secrets:
      description: Whether its file C(.env) has values of a later release, as M(dgxspark.vllm.vllm_release) writes them.
      type: bool
      returned: always
      sample: false
taken_over:
  description:
    - The servers that were stopped to make room for a release that is not verified yet. Empty if there are none.
    - C(holders) are as the module M(dgxspark.vllm.vllm_takeover) returns them. C(beside) is the release of this service
      that was in service at the same time as they were. It is V(null) if there was none.
  returned: success
  type: dict
  sample: {}
refusal:
  description:
    - Why O(service) cannot have O(home) or its units, in one line. V(null) if it can.
    - O(home) has to be absent, empty or marked as the folder of O(service), which M(dgxspark.vllm.vllm_home) does.
      Only root may be able to write it or a folder above it. Units have to be absent or written by this
      collection.
    - It includes RV(moved).
  returned: if O(service) is set
  type: str
  sample: null
moved:
  description: Why O(home) is not the folder of O(service), if the unit of O(service) starts from another folder that
    exists. V(null) otherwise.
  returned: if O(service) is set
  type: str
  sample: null
owned:
  description: Whether O(home) is the folder of O(service).
  returned: if O(service) is set
  type: bool
  sample: true
units:
  description: Unit files of O(service) on the host that this collection has written.
  returned: if O(service) is set
  type: list
  elements: str
  sample: [/etc/systemd/system/vllm.service]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import installed
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "service": {"type": "str"},
            "cache_path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        found = installed.read(**module.params)
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, module.params["home"]))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
