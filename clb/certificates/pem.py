"""Take PEM text apart into its blocks, exactly.

Owns:      the grammar of PEM (RFC 7468), and which block and line of a file breaks it.
Elsewhere: what is no PEM at all (formats.py); what is inside a block (server.py and its neighbours).
Pure:      bytes in, blocks out. No line of a block is ever quoted: it may be of a private key.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from clb.certificates.faults import CertificateFault
from clb.certificates.formats import der_missing_bytes, fault_for_label, fault_for_no_pem

MAXIMUM_BYTES = 1 << 20
MAXIMUM_BLOCKS = 1000

_BOUNDARY = re.compile(rb"-----(BEGIN|END) ([A-Z0-9][A-Z0-9 ]{0,60})-----")
_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*:.*")
_BODY_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Block:
    """One PEM block, decoded."""

    label: str
    number: int
    """Position in the file, from one."""
    line: int
    """Of its BEGIN, from one."""
    der: bytes = field(repr=False)
    is_encrypted: bool = False
    headers: tuple[bytes, ...] = field(default=(), repr=False)
    """Lines before the body, which old encrypted keys have; they tell the cipher and its first block."""

    def __str__(self) -> str:
        return f"block {self.number} (line {self.line})"

    @property
    def is_private_key(self) -> bool:
        """Whether this is a private key of any format."""
        return self.label.endswith("PRIVATE KEY")

    @property
    def is_certificate(self) -> bool:
        """Whether this is a certificate; the second name is an old one for the same."""
        return self.label in ("CERTIFICATE", "X509 CERTIFICATE")

    def as_pem(self) -> bytes:
        """The block as text again, headers included."""
        label = self.label.encode("ascii")
        headers = (*self.headers, b"") if self.headers else ()
        body = base64.encodebytes(self.der).rstrip()
        return b"\n".join((b"-----BEGIN %b-----" % label, *headers, body, b"-----END %b-----" % label, b""))


def split(data: bytes) -> list[Block]:
    """All blocks in order; text around them is allowed, as OpenSSL writes some. At least one, or a fault."""
    if len(data) > MAXIMUM_BYTES:
        fix = "give the certificates of this listener only"
        raise CertificateFault("too_large", f"the file is larger than {MAXIMUM_BYTES >> 20} MiB", fix)
    blocks: list[Block] = []
    opened: _OpenBlock | None = None
    for number, raw in enumerate(re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf")), start=1):
        line = raw.strip(b" \t")
        boundary = _BOUNDARY.fullmatch(line)
        if boundary is None and line.startswith(b"---"):
            raise _broken(f"line {number} starts with dashes but is no BEGIN or END line of PEM")
        if boundary is None:
            if opened is not None:
                opened.take(line, number)
            continue
        word, label = boundary[1], boundary[2].decode("ascii")
        if word == b"BEGIN":
            if opened is not None:
                raise _broken(f"{opened} has no END before the next BEGIN in line {number}")
            opened = _OpenBlock(label, len(blocks) + 1, number)
        elif opened is None:
            raise _broken(f"line {number} is an END without a BEGIN before it")
        else:
            blocks.append(opened.close(label, number))
            opened = None
        if len(blocks) > MAXIMUM_BLOCKS:
            fix = "give the certificates of this listener only"
            raise CertificateFault("too_large", f"the file has more than {MAXIMUM_BLOCKS} PEM blocks", fix)
    if opened is not None:
        raise _broken(f"{opened} has no END; the file is cut short")
    if not blocks:
        raise fault_for_no_pem(data)
    for block in blocks:
        if fault := fault_for_label(block.label, str(block)):
            raise fault
    return blocks


class _OpenBlock:
    """A block between BEGIN and END."""

    def __init__(self, label: str, number: int, line: int) -> None:
        self._label, self._number, self._line = label, number, line
        self._body: list[bytes] = []
        self._headers: list[bytes] = []
        self._is_encrypted = label == "ENCRYPTED PRIVATE KEY"
        self._padded = False

    def __str__(self) -> str:
        return f"block {self._number} (line {self._line}, {self._label})"

    def take(self, line: bytes, number: int) -> None:
        """One line of the body, or of the headers that old encrypted keys have."""
        if not line:
            return
        if not self._body and _HEADER.fullmatch(line):
            self._headers.append(line)
            self._is_encrypted |= line.replace(b" ", b"") == b"Proc-Type:4,ENCRYPTED"
            return
        if self._padded or not _BODY_LINE.fullmatch(line):
            raise _broken(f"{self} has a line that is not base64: line {number}")
        self._padded = line.endswith(b"=")
        self._body.append(line)

    def close(self, label: str, number: int) -> Block:
        """The decoded block, at the line of its END."""
        if label != self._label:
            raise _broken(f"{self} ends in line {number} as {label}")
        if not self._body:
            raise _broken(f"{self} has nothing between BEGIN and END")
        try:
            der = base64.b64decode(b"".join(self._body), validate=True)
        except binascii.Error:
            raise _broken(f"{self} is not base64: characters are missing or too many") from None
        if not self._is_encrypted and (missing := der_missing_bytes(der)) != 0:
            amount = f"{missing} bytes are missing" if missing > 0 else f"{-missing} bytes are too many"
            raise _broken(f"{self} is damaged: {amount}")
        return Block(self._label, self._number, self._line, der, self._is_encrypted, tuple(self._headers))


def _broken(message: str) -> CertificateFault:
    return CertificateFault("bad_block", message, "copy the file again from where it was issued")
