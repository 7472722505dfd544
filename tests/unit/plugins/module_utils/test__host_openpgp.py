# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that gpg has made, and the fingerprints that it says they have."""

from __future__ import annotations

import base64
import subprocess

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.openpgp import parse
from hypothesis import given
from hypothesis import strategies as st

from support.paths import ROOT

FOLDER = ROOT / "tests" / "fixtures" / "openpgp"
ED25519, RSA = ((FOLDER / name).read_text() for name in ("ed25519.asc", "rsa2048.asc"))
FINGERPRINT = "D56233E08592FC7A56EE40EF0D353EE3B5F20251"
OF_RSA = "BE6C35B08AE504F3B98EE965FBBF61E1C079765B"


def armor(data: bytes) -> str:
    lines = base64.encodebytes(data).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{lines}-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ED25519, [FINGERPRINT]),
        (RSA, [OF_RSA]),
        (ED25519 + RSA, [FINGERPRINT, OF_RSA]),  # both would be trusted
        (ED25519.replace("\n", "\r\n"), [FINGERPRINT]),
        (ED25519.replace("BLOCK-----\n\n", "BLOCK-----\nVersion: GnuPG v1\nComment: x\n\n"), [FINGERPRINT]),
        (f"some text\n{ED25519}", [FINGERPRINT]),
    ],
)
def test_the_fingerprints_are_those_of_gpg(text: str, found: list[str]) -> None:
    assert parse(text).fingerprints == found


DEARMOR = """/^-----BEGIN/{ x = 1 } /^$/{ if (x == 1) x = 2 } /^[^=-]/{ if (x == 2) print } /^-----END/{ x = 0 }"""


@pytest.mark.parametrize(
    "smuggled",
    [
        RSA.replace("PUBLIC KEY BLOCK", "MESSAGE") + ED25519,
        ED25519 + RSA.replace("PUBLIC KEY BLOCK", "PRIVATE KEY BLOCK"),
        ED25519 + RSA.replace("-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----BEGIN PGP PUBLIC KEY BLOCK----- x"),
        ED25519 + RSA.replace("-----END PGP PUBLIC KEY BLOCK-----", "-----END"),
    ],
)
def test_apt_gets_the_keys_that_were_compared_and_no_other(smuggled: str) -> None:
    """By apt's own way to read such a file, which asks for no more than BEGIN."""
    keys = parse(smuggled)
    assert keys.fingerprints == [FINGERPRINT]
    read = subprocess.run(["awk", DEARMOR], input=keys.text, capture_output=True, text=True, check=True).stdout
    assert base64.b64decode(read) == base64.b64decode("".join(ED25519.splitlines()[2:-2]))
    assert parse(keys.text) == keys


def test_two_keys_in_one_block() -> None:
    one, two = (base64.b64decode("".join(key.splitlines()[2:-2])) for key in (ED25519, RSA))
    assert parse(armor(one + two)).fingerprints == [FINGERPRINT, OF_RSA]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>sign in</html>",
        armor(b""),
        armor(b"\x98\xff"),
        armor(b"\x98\x05\x03abcd"),
        armor(b"\x9b" + bytes(7) + b"\x01\x04"),
        ED25519.replace("m", "!"),
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="OpenPGP key"):
        parse(text)


@given(st.binary())
def test_any_packets_have_an_answer(data: bytes) -> None:
    try:
        parse(armor(data))
    except ValueError as error:
        assert "OpenPGP key" in str(error)
