# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gateway_certificate in the real HAProxy: what clients verify, HTTP/1.1 and HTTP/2, and a renewed certificate."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import typing as t
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support import unwanted
from support.haproxy import ENGINE_KEY, Engine, Gateway, read_answer
from support.waiting import wait_until

MODEL, KEY = "Qwen/Qwen3-8B-FP8", "ada-0123456789abcdef"
STATIC_TABLE = {8: 200, 12: 400, 13: 404}  # statuses that HTTP/2 sends as a number (RFC 7541, appendix A)


class Certified(t.NamedTuple):
    gateway: Gateway
    engine: Engine
    file: Path  # gateway_certificate
    certificate: str


def write_certificate(file: Path) -> str:
    """A new one, signed by itself, with its key, as the owner has it in one file. Without the key it is returned."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = serialization.PrivateFormat.PKCS8
    file.write_bytes(certificate + key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return certificate.decode()


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Certified]:
    folder = tmp_path_factory.mktemp("gateway")
    file, engine = folder / "gateway.pem", Engine(MODEL, "spark01")
    certificate = write_certificate(file)
    with Gateway(folder, [engine], [{"name": "ada", "key": KEY}], gateway_certificate=str(file)) as gateway:
        yield Certified(gateway, engine, file, certificate)
    engine.stop()


def connected(gateway: Gateway, trusted: str, *protocols: str) -> ssl.SSLSocket:
    """With a certificate that is trusted, or not at all."""
    context = ssl.create_default_context(cadata=trusted)
    context.set_alpn_protocols(protocols)
    return context.wrap_socket(gateway.open(), server_hostname="127.0.0.1")


def chat(text: str, key: str = KEY, **more: t.Any) -> bytes:
    return unwanted.http(unwanted.CHAT, unwanted.bearer(key), unwanted.chat(MODEL, text, **more))


def test_a_client_verifies_the_certificate_and_is_served_by_http_1(certified: Certified) -> None:
    with connected(certified.gateway, certified.certificate, "http/1.1") as connection:
        assert (connection.selected_alpn_protocol(), connection.version()) == ("http/1.1", "TLSv1.3")
        for key, status in ((KEY, 200), ("wrong", 401), (KEY, 200)):
            connection.sendall(chat("Hello", key))
            assert read_answer(connection).status == status
    assert certified.engine.asked[-1][1]["authorization"] == f"Bearer {ENGINE_KEY}"
    with pytest.raises(ssl.SSLCertVerificationError):
        connected(certified.gateway, write_certificate(certified.file.with_name("other.pem")))


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content


def headers(**fields: str) -> bytes:
    """Each as its name and its value, without a table and without compression (RFC 7541, 6.2.2)."""
    pairs = [(name.replace("__", ":").encode(), value.encode()) for name, value in fields.items()]
    return b"".join(bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in pairs)


def by_http_2(connection: socket.socket, stream: int, key: str, body: bytes) -> tuple[int, bytes]:
    fields = {"__method": "POST", "__scheme": "https", "__authority": "gw", "__path": unwanted.CHAT}
    head = headers(**fields, authorization=f"Bearer {key}")
    connection.sendall(frame(1, 4, stream, head) + frame(0, 1, stream, body))
    status, content, flags, number = 0, b"", 0, 0
    with connection.makefile("rb") as file:
        while not (number == stream and flags & 1):
            start = file.read(9)
            kind, flags, number = start[3], start[4], int.from_bytes(start[5:])
            part = file.read(int.from_bytes(start[:3]))
            if (kind, number) == (1, stream):
                status = STATIC_TABLE[part[0] & 127] if part[0] & 128 else int(part[2:5])
            elif (kind, number) == (0, stream):
                content += part
    return status, content


def test_a_client_is_served_by_http_2(certified: Certified) -> None:
    with connected(certified.gateway, certified.certificate, "h2", "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        before = len(certified.engine.asked)
        assert by_http_2(connection, 1, "wrong", unwanted.chat(MODEL))[0] == 401
        assert by_http_2(connection, 3, KEY, unwanted.chat("other"))[0] == 404
        assert len(certified.engine.asked) == before
        status, body = by_http_2(connection, 5, KEY, unwanted.chat(MODEL))
        assert (status, b'"unit":"spark01"' in body) == (200, True)
        assert certified.engine.asked[-1][1]["authorization"] == f"Bearer {ENGINE_KEY}"


def test_a_request_without_tls_is_not_served(certified: Certified) -> None:
    before = len(certified.engine.asked)
    with certified.gateway.open() as connection:
        answer = unwanted.asked(connection, chat("Hello"))
    assert (answer.status, len(certified.engine.asked)) == (0, before)


def test_a_renewed_certificate_is_used_after_a_reload_and_no_answer_is_broken_off(certified: Certified) -> None:
    gateway, engine = certified.gateway, certified.engine
    engine.go.clear()
    with connected(gateway, certified.certificate) as old:
        old.sendall(chat("Hello", stream=True))
        wait_until(lambda: engine.in_progress == 1, "it is in progress", pause=0.02)
        renewed = write_certificate(certified.file)
        connected(gateway, certified.certificate).close()  # not before the reload
        gateway.reload()
        with connected(gateway, renewed) as connection:
            connection.sendall(unwanted.http(unwanted.MODELS, unwanted.bearer(KEY), method="GET"))
            assert read_answer(connection).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            connected(gateway, certified.certificate)
        engine.go.set()
        answer = read_answer(old)
    assert (answer.status, b'"number":2' in answer.body) == (200, True)
