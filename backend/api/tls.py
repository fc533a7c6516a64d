"""The certificate that the API shows, if it encrypts by itself."""

from __future__ import annotations

import hashlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from domain.errors import UsageError

_FIRST: Final = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_OF_ANOTHER: Final = "KEY_VALUES_MISMATCH"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: the chain, the server's own certificate first, and its private key."""

    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """What a server encrypts with.

        Raises:
            UsageError: a file cannot be read, or is not what it is to be; one line names it.
        """
        for path in (self.cert, self.key):
            try:
                path.read_bytes()
            except OSError as error:
                raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key, password=self._refuse_encrypted)
        except ssl.SSLError as error:
            if error.reason == _OF_ANOTHER:
                raise UsageError(f"{self.key} is not the key of {self.cert}") from error
            raise UsageError(
                f"{self.cert} is to hold certificates and {self.key} a private key, both in PEM"
            ) from error
        return context

    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate, in hexadecimal digits."""
        found = _FIRST.search(self.cert.read_text(encoding="ascii", errors="replace"))
        if found is None:
            raise UsageError(f"{self.cert} holds no certificate in PEM")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found[0])).hexdigest()

    def _refuse_encrypted(self) -> str:
        raise UsageError(
            f"{self.key} is encrypted, and nobody is there to be asked for a passphrase"
        )


def certificate(cert: Path | None, key: Path | None) -> Certificate | None:
    """The certificate that two settings name; None where neither does.

    Raises:
        UsageError: only one does, or the files do not serve.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = "tls_key" if key is None else "tls_cert"
        raise UsageError(f"api.{missing} is not set: a certificate goes with its private key")
    shown = Certificate(cert, key)
    shown.context()
    return shown
