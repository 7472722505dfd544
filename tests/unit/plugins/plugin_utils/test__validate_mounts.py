# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the container may not get, and where. Some more of it goes through all of site.yml: bad_inputs.py."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.mounts import own_mounts

from support.bad_inputs import FILE, FOLDER, MOUNT, files, mounts, one
from support.services import CATALOG, values

BAD: list[tuple[dict[str, t.Any], str]] = [
    (one("vllm_model", "/srv/my models"), f'vllm_model: "/srv/my models" is not allowed; {FOLDER}'),
    (
        one("vllm_model", "/root/mine"),
        'vllm_model: "/root/mine" is for root alone, and a container could read it; use a folder such as'
        " /srv/models/mine",
    ),
    (
        one("vllm_model", "/opt/vllm/releases"),
        'vllm_model: "/opt/vllm/releases" and vllm_home (/opt/vllm), which holds secrets, lie in one another; use'
        " another folder",
    ),
    (
        {"vllm_model": "/data", "hf_cache_path": "/data/hf"},
        'vllm_model: "/data" holds the model cache (/data/hf); use the folder of one model such as /srv/models/mine',
    ),
    (files({"target": "/opt/files/a"}), f"vllm_files[0]: has neither src nor content; use a mapping such as {FILE}"),
    (
        files({"src": "a", "content": "b", "target": "/opt/files/a"}),
        "vllm_files[0]: has src and content; use one of them",
    ),
    (
        files({"src": "", "target": "/opt/files/a"}),
        'vllm_files[0].src: "" is not allowed; use the path of a file or folder on the controller',
    ),
    (
        files({"src": "a"}),
        "vllm_files[0].target: is missing; use a path in the container such as /opt/files/NAME",
    ),
    (
        files({"source": "a", "target": "/opt/files/a"}),
        "vllm_files[0].source: unknown key; did you mean src?",
    ),
    (
        files({"content": "", "target": "opt/a"}),
        'vllm_files[0].target: "opt/a" is not allowed; use the whole path in the container, such as /opt/files/NAME',
    ),
    (files({"content": "", "target": "/opt/../a"}), f'vllm_files[0].target: "/opt/../a" is not allowed; {FOLDER}'),
    (files({"content": "", "target": "/opt/a:ro"}), f'vllm_files[0].target: "/opt/a:ro" is not allowed; {FOLDER}'),
    (
        files({"src": "a", "target": "/usr/lib/"}),
        'vllm_files[0].target: "/usr/lib/" would hide a folder that the image needs; use one of its own such as'
        " /opt/files/NAME",
    ),
    (
        files({"src": "a", "target": "/proc/a"}),
        'vllm_files[0].target: "/proc/a" is not allowed, because the container has it from the kernel; use a path'
        " such as /opt/files/NAME",
    ),
    (
        files({"content": "", "target": "/opt/dgxspark"}),
        'vllm_files[0].target: "/opt/dgxspark" is taken by the collection; use another path such as /opt/files/NAME',
    ),
    (
        files({"content": "", "target": "/opt/a"}, {"content": "b", "target": "/opt/a/"}),
        'vllm_files[1].target: "/opt/a" is taken by vllm_files[0].target; use another path such as /opt/files/NAME',
    ),
    (
        {**files({"src": "a", "target": "/data/a"}), **mounts({"source": "/srv/data", "target": "/data"})},
        'vllm_mounts[0].target: "/data" and /data/a of vllm_files[0].target lie in one another, so that one would hide'
        " the other; use another path such as /opt/files/NAME",
    ),
    (
        {"vllm_model": "/srv/models/mine", **mounts({"source": "/srv/data", "target": "/models"})},
        'vllm_mounts[0].target: "/models" and /models/mine of vllm_model lie in one another, so that one would hide the'
        " other; use another path such as /opt/files/NAME",
    ),
    (mounts("/srv/data:/data"), f"vllm_mounts[0]: is not allowed; use a mapping such as {MOUNT}"),
    (
        mounts({"target": "/data"}),
        "vllm_mounts[0].source: is missing; use a file or folder of the host such as /srv/data",
    ),
    (
        mounts({"source": "/srv/data", "target": "/data", "readonly": False}),
        "vllm_mounts[0].readonly: unknown key; did you mean read_only?",
    ),
    (
        mounts({"source": "data", "target": "/data"}),
        'vllm_mounts[0].source: "data" is not allowed; use an absolute path such as /srv/data',
    ),
    (
        mounts({"source": "/home/nvidia/.ssh", "target": "/keys"}),
        'vllm_mounts[0].source: "/home/nvidia/.ssh" holds keys, and a container could read them; use a folder such as'
        " /srv/data",
    ),
    (
        mounts({"source": "/var/lib/mine", "target": "/data", "read_only": False}),
        'vllm_mounts[0].source: "/var/lib/mine" belongs to the system, and a container could write it; use read_only:'
        " true, or /srv/data",
    ),
    (
        mounts({"source": "/opt/hf", "target": "/data"}),
        'vllm_mounts[0].source: "/opt/hf" and hf_cache_path (/opt/hf) lie in one another; the container has the model'
        " cache at /root/.cache/huggingface, so use that path, or another folder",
    ),
    (
        {
            "vllm_model": "/srv/data/mine",
            **mounts({"source": "/srv/data", "target": "/data", "read_only": False}),
        },
        'vllm_model: "/srv/data/mine" lies in the source of vllm_mounts[0], which the container may write: it could'
        " make a link of it that leads anywhere on the host; use another folder, or read_only: true there",
    ),
    (
        mounts(
            {"source": "/srv/data", "target": "/data", "read_only": False},
            {"source": "/srv/data/b", "target": "/b"},
        ),
        'vllm_mounts[1].source: "/srv/data/b" lies in the source of vllm_mounts[0], which the container may write: it'
        " could make a link of it that leads anywhere on the host; use another folder, or read_only: true there",
    ),
    (
        {"vllm_model": "/srv/models/mine", "vllm_extra_args": {"chat_template": "/srv/models/mine/tools.jinja"}},
        'vllm_extra_args.chat_template: "/srv/models/mine/tools.jinja" is no path of the container, which has it at'
        " /models/mine/tools.jinja",
    ),
    (
        {
            **mounts({"source": "/srv/adapters", "target": "/adapters"}),
            "vllm_extra_args": {"lora_modules": ["sql=/srv/adapters/sql"]},
        },
        'vllm_extra_args.lora_modules: "/srv/adapters/sql" is no path of the container, which has it at /adapters/sql',
    ),
    (
        {
            **mounts({"source": "/srv/adapters", "target": "/adapters"}),
            "vllm_extra_args": {"lora_modules": ['{"name": "/srv/adapters/sql", "path": "/srv/adapters/2"}']},
        },
        'vllm_extra_args.lora_modules: "/srv/adapters/2" is no path of the container, which has it at /adapters/2',
    ),
    (
        {
            **mounts({"source": "/srv/drafts/", "target": "/drafts"}),
            "vllm_extra_args": {"speculative_config": {"method": "dflash", "model": "/srv/drafts"}},
        },
        'vllm_extra_args.speculative_config: "/srv/drafts" is no path of the container, which has it at /drafts',
    ),
    (
        {
            "vllm_files": [{"src": "/srv/play/chat.jinja", "target": "/opt/files/chat.jinja"}],
            "vllm_extra_args": {"chat_template": "/srv/play/chat.jinja"},
        },
        'vllm_extra_args.chat_template: "/srv/play/chat.jinja" is no path of the container, which has it at'
        " /opt/files/chat.jinja",
    ),
    (
        {
            **mounts({"source": "/srv/code", "target": "/code"}),
            "vllm_extra_env": {"PYTHONPATH": "/usr/lib/python3:/srv/code/mine"},
        },
        'vllm_extra_env.PYTHONPATH: "/srv/code/mine" is no path of the container, which has it at /code/mine',
    ),
    (
        {"vllm_extra_env": {"SOME_MODEL": "/opt/hf/models--a--b"}},
        'vllm_extra_env.SOME_MODEL: "/opt/hf/models--a--b" is no path of the container, which has it at'
        " /root/.cache/huggingface/models--a--b",
    ),
]


@pytest.mark.parametrize(("variables", "line"), BAD, ids=[line[:70] for _variables, line in BAD])
def test_refused_with_one_line(variables: dict[str, t.Any], line: str) -> None:
    assert line in list(own_mounts(values(**variables), CATALOG))


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"vllm_model": "/home/nvidia/models/mine"},
        {"vllm_model": "/opt/hf/models--a--b/snapshots/" + "0" * 40},
        {"vllm_model": "/data/hub/models--a--b/snapshots/0123abcd"},  # it may be a copy without links: the host looks
        # a patch of a file of vLLM
        files({"src": "a", "target": "/usr/local/lib/python3.12/dist-packages/vllm/envs.py"}),
        files({"src": "a", "target": "/opt/files/a"}, {"content": "", "target": "/opt/files/b"}),
        mounts({"source": "/srv/a", "target": "/a"}, {"source": "/srv/a", "target": "/b"}),
        mounts({"source": "/srv/a", "target": "/a", "read_only": False}, {"source": "/srv/ab", "target": "/b"}),
        mounts({"source": "/var/lib/mine", "target": "/data", "read_only": True}),
        {
            **mounts({"source": "/srv/a", "target": "/srv/a"}, {"source": "/srv/b", "target": "/b"}),
            "vllm_extra_args": {
                "lora_modules": ["x=/srv/a/x", "y=/b/y"],
                "tokenizer": "/vllm-workspace/x",
                "served_model_name": "a=b",
            },
        },
        {  # clients may call a model by what it is elsewhere
            "vllm_model": "/srv/models/mine",
            "vllm_extra_args": {"served_model_name": ["mine", "/srv/models/mine"], "root_path": "/srv/models/mine"},
        },
        {
            **mounts({"source": "/srv/adapters", "target": "/adapters"}),
            "vllm_extra_args": {
                "lora_modules": ["/srv/adapters/x=/adapters/x", {"name": "/srv/adapters/y", "path": "/adapters/y"}]
            },
            "vllm_extra_env": {"OTLP": "http://srv/adapters:4317", "PYTHONPATH": "/adapters:/usr/lib"},
        },
    ],
)
def test_accepted(variables: dict[str, t.Any]) -> None:
    assert list(own_mounts(values(**variables), CATALOG)) == []
