"""Make malformed variants of PEM files, the same ones on every run for the same input.

Owns:      mutations of bytes, lines, blocks, and of the DER inside.
Elsewhere: what must hold for them (test_malformed.py).
Pure:      a seeded random source in, bytes out.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator


def variants(original: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` variants, each by one or two mutations."""
    source = random.Random(seed)
    for _ in range(count):
        data = original
        for _ in range(source.randint(1, 2)):
            data = source.choice(_MUTATIONS)(data, source)
        yield data


def _flip_byte(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data) or 1)
    return data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]


def _truncate(data: bytes, source: random.Random) -> bytes:
    return data[: source.randrange(len(data) + 1)]


def _remove_line(data: bytes, source: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    del lines[source.randrange(len(lines))]
    return b"".join(lines)


def _repeat_line(data: bytes, source: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    at = source.randrange(len(lines))
    return b"".join([*lines[:at], lines[at], *lines[at:]])


def _swap_lines(data: bytes, source: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    one, other = source.randrange(len(lines)), source.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _other_label(data: bytes, source: random.Random) -> bytes:
    label = source.choice([b"X509 CRL", b"PKCS7", b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"X"])
    return data.replace(b"CERTIFICATE", label, source.choice([1, 2]))


def _insert_text(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    return (
        data[:at] + source.choice([b"\x00", b"\n\n", b"=", b"Proc-Type: 4,ENCRYPTED\n", b"-----", b"\xff"]) + data[at:]
    )


def _in_der(change: Callable[[bytearray, random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    """Change the content of one block and write proper PEM around it: damage that only a parser can see."""

    def mutate(data: bytes, source: random.Random) -> bytes:
        blocks = data.split(b"-----END ")
        at = source.randrange(len(blocks))
        head, dashes, body = blocks[at].rpartition(b"-----\n")
        try:
            content = bytearray(base64.b64decode(body))
        except ValueError:
            return data
        if content:
            change(content, source)
            blocks[at] = head + dashes + base64.encodebytes(bytes(content))
        return b"-----END ".join(blocks)

    return mutate


def _cut_bytes(content: bytearray, source: random.Random) -> None:
    at = source.randrange(len(content))
    del content[at : at + source.randint(1, 8)]


def _flip_bytes(content: bytearray, source: random.Random) -> None:
    """Of the same length, so that most lengths inside stay right; small numbers are tags of ASN.1."""
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(content))
        content[at] = source.choice([0, 1, 2, 5, 6, 12, 48, 127, 128, 255, source.randrange(256)])


_MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    _flip_byte,
    _truncate,
    _remove_line,
    _repeat_line,
    _swap_lines,
    _other_label,
    _insert_text,
    _in_der(_cut_bytes),
    _in_der(_flip_bytes),
    _in_der(_flip_bytes),
    _in_der(_flip_bytes),
]
