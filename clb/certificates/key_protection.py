"""Tell how much work a passphrase is before doing it: the file names the number of rounds, and may name any.

Owns:      the bounds, and reading the parameters of PKCS#8's encryption (RFC 8018, RFC 7914).
Elsewhere: doing it (keys.py).
Pure:      bytes in, a fault or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from clb.certificates.faults import CertificateFault
from clb.certificates.pem import Block

MOST_ROUNDS: Final = 1_000_000
"""Of PBKDF2: half a second's work. OpenSSL takes 2,048, careful people some hundred thousand."""
MOST_SCRYPT_WORK: Final = 1 << 20
"""N * r * p of scrypt, of which each is 128 bytes of memory."""

_SEQUENCE, _INTEGER, _OBJECT_ID = 0x30, 0x02, 0x06
_SCRYPT: Final = bytes.fromhex("2b06010401da47040b")
_DEEPEST: Final = 6


def check_effort(block: Block) -> None:
    """Refuse an encrypted key that would take too long to open."""
    if block.label != "ENCRYPTED PRIVATE KEY":
        return  # Old encrypted keys derive their key in one round.
    numbers, is_scrypt = _parameters(block.der)
    if is_scrypt:
        # In the order N, r, p, and perhaps the length of the key.
        too_much = any(math.prod(group[:3]) > MOST_SCRYPT_WORK for group in numbers)
    else:
        too_much = any(number > MOST_ROUNDS for group in numbers for number in group)
    if too_much:
        message = f"the passphrase of the private key in {block} takes too long to check"
        fix = "run: openssl pkey -in FILE -out FILE.key, and send that one"
        raise CertificateFault("key_too_slow", message, fix)


def _parameters(der: bytes) -> tuple[list[list[int]], bool]:
    """The numbers of each part of the algorithm's parameters, and whether scrypt is named among them."""
    numbers: list[list[int]] = []
    is_scrypt = False
    outer = next(_elements(der), None)
    algorithm = next(_elements(outer[1]), None) if outer is not None else None
    waiting = [(algorithm[1], 0)] if algorithm is not None else []
    while waiting:
        content, depth = waiting.pop()
        elements = list(_elements(content))
        numbers.append([int.from_bytes(value[:16]) for tag, value in elements if tag == _INTEGER])
        is_scrypt |= (_OBJECT_ID, _SCRYPT) in elements
        if depth < _DEEPEST:
            waiting += [(value, depth + 1) for tag, value in elements if tag == _SEQUENCE]
    return numbers, is_scrypt


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content, one after another, as far as it is DER."""
    at = 0
    while at + 2 <= len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or at + count > len(data):
                return
            length = int.from_bytes(data[at : at + count])
            at += count
        if at + length > len(data):
            return
        yield tag, data[at : at + length]
        at += length
