# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a vLLM server is not healthy: the known causes, as data.

SIGNATURES are recognized by the text of an exception or a line of a log (of vLLM, of Docker, or of the unit's journal);
CONDITIONS are recognized by what was observed around it. The texts may name the groups of the pattern and the numbers
which causes.py computes from them. Remedies speak in the variables of this collection's roles, and prefer what keeps
image and model. Where two signatures match the same text, the first one counts.
"""

from __future__ import annotations

from ..entries import (
    CAPABILITY,
    DOWNLOAD,
    FP8,
    MEMORY,
    THROUGHPUT,
    Condition,
    Harmless,
    Signature,
)
from .compilers import COMPILERS
from .conditions import CONDITIONS, HARMLESS
from .docker import DOCKER
from .driver import DRIVER
from .engine import ENGINE
from .families import FAMILIES, RULES
from .features import BACKENDS, FEATURES
from .files import FILES
from .hub import HUB
from .image import IMAGE
from .kernels import KERNELS
from .memory import MEMORY_SIGNATURES
from .models import MODELS
from .network import NETWORK
from .options import OPTIONS
from .parsers import PARSERS
from .toolkit import NVIDIA_TOOLKIT
from .unit import UNIT

SECTIONS: tuple[tuple[str, tuple[Signature, ...]], ...] = (
    ("Docker, the container toolkit and the unit", (*DOCKER, *NVIDIA_TOOLKIT, *UNIT)),
    ("Driver and GPU", DRIVER),
    ("Memory", MEMORY_SIGNATURES),
    ("Kernels on the GB10", KERNELS),
    ("The image", IMAGE),
    ("Compilers in the image", COMPILERS),
    ("Options", (*OPTIONS, *PARSERS)),
    ("The model and its checkpoint", MODELS),
    ("Network between hosts", NETWORK),
    ("The hub", HUB),
    ("Files and disk", FILES),
    ("The engine", ENGINE),
)
SIGNATURES: tuple[Signature, ...] = tuple(signature for _title, entries in SECTIONS for signature in entries)

__all__ = [
    "CAPABILITY",
    "CONDITIONS",
    "DOWNLOAD",
    "FAMILIES",
    "BACKENDS",
    "FEATURES",
    "FP8",
    "HARMLESS",
    "MEMORY",
    "RULES",
    "SECTIONS",
    "SIGNATURES",
    "THROUGHPUT",
    "Condition",
    "Harmless",
    "Signature",
]
