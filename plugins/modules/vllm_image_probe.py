#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the vLLM of an image what it can do, once for each image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_image_probe
short_description: Reads from a vLLM image what it can do
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Starts one short container of an image that is on the host, and reads the versions in it, the model architectures,
    the options of C(vllm serve) and the parsers. The container has no network, no GPU, no secret and no capability, its
    file system is read-only, its memory is limited to 3 GiB, and it is removed after at most 300 seconds.
  - The answer is kept on the host in C(/var/lib/dgxspark/images), in a file named after the ID of the image. The next
    call reads it there, and starts no container. An image with another ID is asked again.
  - Does not pull the image. If it is not on the host, RV(id) is V(null).
options:
  image:
    description: The image, as Docker knows it.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: In check mode no container is started. An answer that the host has is used.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: The answer that is kept is not counted as a change.
notes:
  - Requires root, and Docker on the host.
  - An image that gives no answer, or is not on the host, does not fail the module. RV(reason) says why.
seealso:
  - module: dgxspark.vllm.vllm_image
"""

EXAMPLES = r"""
- name: Read what the image can do
  dgxspark.vllm.vllm_image_probe:
    image: nvcr.io/nvidia/vllm:26.10-py3
  register: probed
  become: true

- name: Show its version of vLLM and of NCCL
  ansible.builtin.debug:
    msg: "vLLM {{ probed.probe.vllm }}, NCCL {{ probed.probe.nccl }}"
  when: probed.probe is not none
"""

RETURN = r"""
id:
  description: ID of the image. V(null) if it is not on the host.
  returned: success
  type: str
  sample: sha256:5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c
image:
  description:
    - What Docker says of the image. C(name) is O(image), and C(bytes) its size on the host.
    - V(null) if it is not on the host.
  returned: success
  type: dict
  sample:
    name: nvcr.io/nvidia/vllm:26.10-py3
    id: sha256:5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c0f1e9b7d5a3c
    digests: []
    entrypoint: [/opt/nvidia/nvidia_entrypoint.sh]
    cmd: []
    architecture: arm64
    bytes: 37800000000
probe:
  description: Answer of the image. V(null) if there is none.
  returned: success
  type: dict
  contains:
    vllm: {description: Version of vLLM., type: str, returned: always, sample: 0.32.0}
    torch: {description: Version of PyTorch., type: str, returned: always, sample: 2.13.0}
    cuda: {description: Version of CUDA that PyTorch was built for., type: str, returned: always, sample: "13.0"}
    nccl: {description: Version of the NCCL that PyTorch loads., type: str, returned: always, sample: 2.29.7}
    ray: {description: Version of Ray. V(null) if it is not in the image., type: str, returned: always, sample: null}
    multi_node:
      description: Whether C(vllm serve) has the option C(--nnodes), so that it can span hosts without Ray.
      type: bool
      returned: always
      sample: true
    architectures:
      description: Model architectures of vLLM, and of the plugins of vLLM in the image.
      type: list
      elements: str
      returned: always
      sample: [Qwen3ForCausalLM, Qwen3MoeForCausalLM]
    transformers_architectures:
      description: Model classes of the transformers library in the image.
      type: list
      elements: str
      returned: always
      sample: [Qwen3ForCausalLM]
    options:
      description: Options of C(vllm serve), as described in the folder C(catalog/vllm_options).
      type: list
      elements: dict
      returned: always
      sample: [{name: max-model-len, kind: value}]
    tool_parsers:
      description: Values of C(--tool-call-parser).
      type: list
      elements: str
      returned: always
      sample: [hermes, qwen3_coder]
    reasoning_parsers:
      description: Values of C(--reasoning-parser).
      type: list
      elements: str
      returned: always
      sample: [deepseek_r1, qwen3]
    errors:
      description: For each field that could not be read and is V(null), the error.
      type: dict
      returned: always
      sample: {nccl: "RuntimeError: NCCL is not available"}
entry:
  description:
    - What was read as an entry of the image matrix, see the file C(catalog/images.yml). V(null) without an answer.
    - C(architectures) is left out for a released version of vLLM, because C(catalog/architectures.yml) has them.
  returned: success
  type: dict
  sample: {vllm: 0.32.0, cuda: "13.0", nccl: 2.29.7, command_prefix: [vllm, serve], ray: false, multi_node: true,
    status: unknown, sources: {vllm: "M: read from the image by playbooks/probe_image.yml"}}
cached:
  description: Whether the answer was on the host.
  returned: success
  type: bool
  sample: true
reason:
  description: Why there is no answer, in one line. V(null) if there is one.
  returned: success
  type: str
  sample: null
"""

import contextlib
import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.home import make_folder
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.releases import write
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, parse_json
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import image_probe

Facts = dict[str, t.Any]
BOUND = ("timeout", "60")  # seconds of a command that Docker answers at once


def look(module: AnsibleModule, name: str) -> tuple[Facts | None, str]:
    """The image, or why there is none to ask."""
    docker = module.get_bin_path("docker")
    if docker is None:
        return None, "docker is not installed"
    rc, out, err = module.run_command([*BOUND, docker, "image", "inspect", "--format={{json .}}", "--", name])
    if rc and "no such image" in err.lower():
        return None, f"{plain(name)} is not on the host"
    facts = None if rc else image_probe.read_image(out)
    if facts is None:
        return None, f"docker image inspect ended with {rc}: {image_probe.last_line(err or out)}"
    return {"name": name, **facts}, ""


def kept(path: str) -> Facts | None:
    """The answer in a file; None if there is none to this question."""
    try:
        with open(path, encoding="utf-8") as file:
            found = mapping(parse_json(file.read(image_probe.MOST_BYTES * 2)))
    except (OSError, ValueError):
        return None
    if found.get("question") != image_probe.question():
        return None
    return image_probe.read_answer(json.dumps(found.get("answer")))


def keep(path: str, answer: Facts) -> None:
    make_folder(os.path.dirname(path))
    with contextlib.suppress(FileExistsError, FileNotFoundError):  # another service of this host keeps the same
        write(path, json.dumps({"question": image_probe.question(), "answer": answer}) + "\n")


def ask(module: AnsibleModule, ident: str) -> tuple[Facts | None, str]:
    """The answer of the image, and what was said if there is none."""
    docker = module.get_bin_path("docker", required=True)
    name = f"dgxspark-probe-{ident.partition(':')[2][:12]}-{os.getpid()}"
    _rc, out, err = module.run_command(image_probe.command(docker, ident, name), data=image_probe.script())
    answer = image_probe.read_answer(out)
    if answer is None:
        # killed by its time limit, `docker run` leaves the container running
        module.run_command([*BOUND, docker, "rm", "--force", name])
    return answer, "" if answer else image_probe.last_line(err)


def main() -> None:
    module = AnsibleModule(
        argument_spec={"image": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    image, reason = look(module, module.params["image"])
    answer, cached = None, False
    if image:
        path = os.path.join(image_probe.FOLDER, str(image_probe.file_name(image["id"])))
        try:
            answer = kept(path)
            cached = answer is not None
            if answer is None and module.check_mode:
                reason = "it was not asked yet, and is not in check mode"
            elif answer is None:
                answer, said = ask(module, image["id"])
                reason = "" if answer else f"it did not answer: {said}"
                if answer:
                    keep(path, answer)
        except PermissionError as error:
            module.fail_json(msg=os_problem.one_line(error, path))
        except OSError as error:
            module.fail_json(msg=f"{error.filename or path}: {error.strerror}")
    module.exit_json(
        changed=False,
        id=image["id"] if image else None,
        image=image,
        probe=answer,
        entry=image_probe.entry(image, answer) if image and answer else None,
        cached=cached,
        reason=reason or None,
    )


if __name__ == "__main__":
    main()
