#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creates or removes the folder of a vLLM service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_home
short_description: Creates or removes the folder of a vLLM service
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Creates the folder of a service with the file C(.dgxspark-vllm) in it, which names the service and what this
    collection makes in the folder.
  - A folder that is not empty and has no such file was not made by this collection. It is rejected, unless it
    holds a release that an earlier version of this collection has written.
  - Removes only what this collection makes in the folder, and the folder itself only if nothing else is in it.
  - To find out whether a folder would be rejected, see M(dgxspark.vllm.vllm_releases_info).
options:
  home:
    description: Folder of the service on the host, as C(vllm_home) of the role P(dgxspark.vllm.vllm#role).
    type: path
    required: true
  service:
    description: Name of the service, as C(vllm_service_name) of the role P(dgxspark.vllm.vllm#role).
    type: str
    required: true
  release:
    description:
      - With O(state=present), the name of a release. Its folder C(releases/RELEASE) is created as well, and the folders
        C(cache) and C(parsed) that all releases of the service share.
    type: str
  state:
    description:
      - V(present) creates the folder and marks it.
      - V(absent) removes what is in it of this collection. A folder that this collection did not make is left alone.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - dgxspark.vllm.attributes.changes
notes:
  - Requires root.
seealso:
  - module: dgxspark.vllm.vllm_image
  - module: dgxspark.vllm.vllm_releases_info
"""

EXAMPLES = r"""
- name: Create the folder of the service
  dgxspark.vllm.vllm_home:
    home: /opt/vllm
    service: vllm
    release: 0123456789ab
  become: true

- name: Remove what the service has in it
  dgxspark.vllm.vllm_home:
    home: /opt/vllm
    service: vllm
    state: absent
  become: true
"""

RETURN = r"""
left:
  description: What is in the folder of others, and stays there.
  returned: with O(state=absent)
  type: list
  elements: str
  sample: []
"""

import functools
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import home as homes
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import NAME as RELEASE
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import names_in
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain


def create(module: AnsibleModule, home: str, service: str) -> None:
    refusal = homes.refusal(home, service)
    if refusal:
        module.fail_json(msg=refusal)
    release = module.params["release"]
    if release is not None and not RELEASE.fullmatch(release):
        module.fail_json(msg=f"release: {release!r} is not the name of a release, which has 12 digits of 0-9 and a-f")
    folders = homes.folders_of(home, release) if release is not None else []
    changed = not homes.is_marked(home, service) or not all(map(homes.is_made, folders))
    if changed and not module.check_mode:
        homes.mark(home, service)
        for folder in folders:
            homes.make_folder(folder, mine=True)
    module.exit_json(changed=changed)


def remove_tree(module: AnsibleModule, folder: str) -> None:
    """The container writes to the cache: shutil.rmtree() ends at a depth that `rm` does not know."""
    rc, _out, err = module.run_command([module.get_bin_path("rm", required=True), "-rf", "--", folder])
    if rc:
        raise OSError(0, plain(err.strip()) or f"rm ended with {rc}", folder)


def remove(module: AnsibleModule, home: str, service: str) -> None:
    if homes.owner(home) != service:
        module.exit_json(changed=False, left=names_in(home))
    left = (
        homes.kept(home) if module.check_mode else homes.remove(home, service, functools.partial(remove_tree, module))
    )
    module.exit_json(changed=True, left=left)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "required": True},
            "service": {"type": "str", "required": True},
            "release": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    home = os.path.abspath(module.params["home"])
    act = create if module.params["state"] == "present" else remove
    try:
        act(module, home, module.params["service"])
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, home))


if __name__ == "__main__":
    main()
