"""A node asked over its management address, from wherever: by TLS, with a token.

Owns:      what says which node, the trust in its certificate, and the connection.
Elsewhere: asking (node_client.py); the options (main.py).

A token is taken from a file or from the environment, never from the words of a command, which every user of the
machine can read. It is sent only to who has shown the right certificate.
"""

from __future__ import annotations

import hmac
import http.client
import os
import re
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 9443
_LONGEST_TOKEN: Final = 512
_PIN_PREFIX: Final = "sha256//"
_ADDRESS: Final = '--url takes an address such as "https://clb-1.example.com:9443"'


class RemoteFault(Exception):
    """It cannot be asked like this; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a node is, and how to know it."""

    host: str
    port: int
    is_tls: bool
    token: str = field(repr=False)
    authority: Path | None = None
    """PEM of whom to trust; None: the system's."""
    pin: str | None = None
    """SHA-256 of the certificate in hexadecimal, or `sha256//` and that of its public key in base64."""

    @property
    def where(self) -> str:
        """For people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.is_tls else ''}://{host}:{self.port}"

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that has yet to be made."""
        if not self.is_tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        if self.pin is not None:
            return _PinnedConnection(self, timeout_s)
        try:
            context = ssl.create_default_context(cafile=str(self.authority) if self.authority else None)
        except (OSError, ssl.SSLError) as error:
            raise RemoteFault(f"{self.authority}: no certificates can be read from it") from error
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s, context=context)


def remote_of(
    url: str, token_file: Path | None, authority: Path | None, fingerprint: str | None, own_certificate: Path
) -> Remote:
    """Understand the options.

    A node of this machine shows `own_certificate`, as far as we may read it.

    Raises:
        RemoteFault: they make no sense, or there is no token.
    """
    host, port, is_tls = _address(url)
    if not is_tls and not _is_here(host):
        raise RemoteFault(f"{url}: a token is sent in clear text to this machine only; use https://")
    if authority is not None and fingerprint is not None:
        raise RemoteFault("give --ca or --fingerprint, not both")
    if authority is None and fingerprint is None and _is_here(host) and os.access(own_certificate, os.R_OK):
        authority = own_certificate
    return Remote(host, port, is_tls, _token(token_file), authority, _pin(fingerprint) if fingerprint else None)


def _address(url: str) -> tuple[str, int, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        raise RemoteFault(_ADDRESS) from None
    is_plain = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in ("https", "http") or not host or not is_plain:
        raise RemoteFault(_ADDRESS)
    return host, port, parts.scheme == "https"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _token(file: Path | None) -> str:
    if file is not None:
        try:
            with file.open("rb") as opened:
                data = opened.read(_LONGEST_TOKEN + 1).strip()
        except OSError as error:
            raise RemoteFault(f"{file}: {error.strerror}") from error
        told = str(file)
    else:
        data, told = os.environ.get("CLB_TOKEN", "").strip().encode("utf-8", "replace"), "CLB_TOKEN"
        if not data:
            raise RemoteFault("--url needs a token: --token-file FILE, or CLB_TOKEN in the environment")
    if not re.fullmatch(rb"[!-~]{1,512}", data):
        raise RemoteFault(f"{told}: not one token, as clb token create --quiet prints it")
    return data.decode("ascii")


def _pin(given: str) -> str:
    if given.startswith(_PIN_PREFIX):
        return given
    plain = given.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise RemoteFault("--fingerprint takes the SHA-256 that clb admin fingerprint prints, or sha256//...")
    return plain


class _PinnedConnection(http.client.HTTPSConnection):
    """Trusts one certificate, whatever its names; nothing is sent before it has been seen."""

    def __init__(self, remote: Remote, timeout_s: float) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        super().__init__(remote.host, remote.port, timeout=timeout_s, context=context)
        self._remote = remote

    def connect(self) -> None:
        super().connect()
        assert isinstance(self.sock, ssl.SSLSocket)
        certificate = self.sock.getpeercert(binary_form=True) or b""
        pin = self._remote.pin or ""
        shown = public_key_pin(certificate) if pin.startswith(_PIN_PREFIX) else sha256(certificate).hexdigest()
        if not hmac.compare_digest(shown.encode(), pin.encode()):
            self.close()
            raise RemoteFault(f"{self._remote.where} shows another certificate: its fingerprint is {shown}")


def public_key_pin(certificate: bytes) -> str:
    """What `curl --pinnedpubkey` takes, of a certificate in DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{_PIN_PREFIX}{b64encode(sha256(der).digest()).decode('ascii')}"
