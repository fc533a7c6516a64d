"""Encrypted: REST, the socket and the commands beside a system, by a certificate of the test's."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backend.api.access import Access, AccessRules
from backend.api.app import create_app
from backend.api.server import listen, serve
from backend.api.tls import Certificate, certificate
from backend.attached import NoAnswerError, status_of
from backend.store.state import Runtime
from domain.errors import UsageError
from tests.served_market import ServedMarket
from tests.subscriber import Client

PASSPHRASE = serialization.BestAvailableEncryption(b"word")


def signed(folder: Path, name: str) -> Certificate:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    about = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(about)
        .issuer_name(about)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    files.cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(spelt(key, serialization.NoEncryption()))
    (folder / f"{name}.locked").write_bytes(spelt(key, PASSPHRASE))
    return files


def spelt(key: ec.EllipticCurvePrivateKey, how: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@dataclass(slots=True)
class Encrypted:
    """A server that shows a certificate."""

    shown: Certificate
    port: int

    @property
    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.shown.cert))


@pytest.fixture
async def encrypted(market: ServedMarket, tmp_path: Path) -> AsyncIterator[Encrypted]:
    shown, listener = signed(tmp_path, "ours"), listen("127.0.0.1", 0)
    market.state.access = Access(AccessRules(require_keys=True, token="word"))  # noqa: S106
    running = asyncio.create_task(serve(create_app(market.state), listener, shown))
    yield Encrypted(shown, listener.getsockname()[1])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_rest_and_the_socket_are_encrypted(
    market: ServedMarket, encrypted: Encrypted
) -> None:
    shown = {"Authorization": "Bearer word"}
    base = f"https://127.0.0.1:{encrypted.port}"
    async with httpx.AsyncClient(verify=encrypted.trusting, base_url=base, timeout=60) as client:
        assert (await client.get("/v1/status", headers=shown)).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        async with httpx.AsyncClient(timeout=60) as client:
            await client.get(f"http://127.0.0.1:{encrypted.port}/healthz")
    market.url = base
    async with market.connect(ssl=encrypted.trusting, additional_headers=shown) as socket:
        client_of = Client(socket)
        assert (await client_of.next())["type"] == "welcome"
        assert (await client_of.ask("ping"))["type"] == "pong"


async def test_a_command_knows_the_certificate_and_refuses_another(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    def of(shown: Certificate) -> Runtime:
        return Runtime(
            pid=os.getpid(),
            database_url="",
            api_host="127.0.0.1",
            api_port=encrypted.port,
            api_certificate=shown.fingerprint(),
            api_token="word",  # noqa: S106
        )

    assert (await status_of(of(encrypted.shown)))["market"] == "simulated"
    with pytest.raises(NoAnswerError, match="does not answer"):
        await status_of(of(signed(tmp_path, "theirs")))


def test_a_certificate_may_be_described_in_any_encoding(tmp_path: Path) -> None:
    ours = signed(tmp_path, "ours")
    plain = ours.fingerprint()
    ours.cert.write_bytes(b"Z\xfcrich\n" + ours.cert.read_bytes())

    assert certificate(ours.cert, ours.key) == ours
    assert ours.fingerprint() == plain


def test_files_that_do_not_serve_are_one_line(tmp_path: Path) -> None:
    ours, theirs = signed(tmp_path, "ours"), signed(tmp_path, "theirs")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("-----BEGIN NOTHING-----")
    wrong: list[tuple[Path | None, Path | None, str]] = [
        (ours.cert, None, r"api\.tls_key is not set"),
        (None, ours.key, r"api\.tls_cert is not set"),
        (tmp_path / "none", ours.key, "none: cannot be read: No such file"),
        (ours.cert, tmp_path, "cannot be read: Is a directory"),
        (ours.cert, theirs.key, "theirs.key is not the key of .*ours.crt"),
        (nonsense, ours.key, "both in PEM"),
        (ours.cert, nonsense, "both in PEM"),
        (ours.key, ours.cert, "both in PEM"),
        (ours.cert, tmp_path / "ours.locked", "is encrypted"),
    ]

    assert certificate(None, None) is None
    assert certificate(ours.cert, ours.key) == ours
    for cert, key, said in wrong:
        with pytest.raises(UsageError, match=said) as raised:
            certificate(cert, key)
        assert "\n" not in str(raised.value)
