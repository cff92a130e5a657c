"""PEM text: what is taken, and which block and line of the rest is broken."""

from __future__ import annotations

import pytest
from certificate_lab import certificate, dsa_key, ec_key, pem

from clb.certificates.faults import CertificateFault
from clb.certificates.pem import MAXIMUM_BYTES, split

LEAF = pem(certificate("leaf", ec_key("leaf"), names=("a.example",)))
LINES = LEAF.splitlines(keepends=True)
LAST = len(LINES)


def changed(at: int, line: bytes) -> bytes:
    return b"".join([*LINES[:at], line, *LINES[at + 1 :]])


TAKEN = {
    "plain": LEAF,
    "crlf": LEAF.replace(b"\n", b"\r\n"),
    "old_mac": LEAF.replace(b"\n", b"\r"),
    "byte_order_mark": b"\xef\xbb\xbf" + LEAF,
    "text_around": b"Bag Attributes\n  friendlyName: x\n" + LEAF + b"the end\n",
    "indented": b"".join(b"  " + line for line in LINES),
    "blank_lines": LEAF.replace(b"\n", b"\n\n"),
    "no_line_break_at_the_end": LEAF.rstrip(),
    "one_long_line": LINES[0] + b"".join(LINES[1:-1]).replace(b"\n", b"") + b"\n" + LINES[-1],
}
BROKEN = {
    "cut": (b"".join(LINES[:4]), "block 1 (line 1, CERTIFICATE) has no END; the file is cut short"),
    "no_end": (
        b"".join(LINES[:-1]) + LEAF,
        f"block 1 (line 1, CERTIFICATE) has no END before the next BEGIN in line {LAST}",
    ),
    "no_begin": (b"".join(LINES[1:]), f"line {LAST - 1} is an END without a BEGIN before it"),
    "other_end": (
        changed(LAST - 1, b"-----END X509 CRL-----\n"),
        f"block 1 (line 1, CERTIFICATE) ends in line {LAST} as X509 CRL",
    ),
    "short_dashes": (changed(0, b"----BEGIN CERTIFICATE-----\n"), "line 1 starts with dashes but is no BEGIN or END"),
    "text_behind_begin": (changed(0, b"-----BEGIN CERTIFICATE----- x\n"), "line 1 starts with dashes"),
    "empty_block": (LINES[0] + LINES[-1], "block 1 (line 1, CERTIFICATE) has nothing between BEGIN and END"),
    "not_base64": (changed(2, b"M!!E\n"), "block 1 (line 1, CERTIFICATE) has a line that is not base64: line 3"),
    "padding_inside": (changed(2, b"AAA=\n"), "has a line that is not base64: line 4"),
    "odd_characters": (changed(2, LINES[2][1:]), "is not base64: characters are missing or too many"),
    "line_missing": (changed(2, b""), "is damaged: 48 bytes are missing"),
    "line_twice": (changed(2, LINES[2] * 2), "is damaged: 48 bytes are too many"),
    "second_block": (LEAF + changed(2, b""), f"block 2 (line {LAST + 1}, CERTIFICATE) is damaged"),
}
REFUSED = {
    "request": ("CERTIFICATE REQUEST", "wrong_block", "is a request for a certificate; have a CA sign it"),
    "trusted": ("TRUSTED CERTIFICATE", "wrong_block", "run: openssl x509 -in FILE"),
    "pkcs7": ("PKCS7", "is_pkcs7", "run: openssl pkcs7 -print_certs -in FILE"),
    "cms": ("CMS", "is_pkcs7", "run: openssl pkcs7 -print_certs -in FILE"),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_taken(data: bytes) -> None:
    (block,) = split(data)
    (plain,) = split(LEAF)
    assert block.der == plain.der
    assert block.is_certificate
    assert not block.is_private_key


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_broken(data: bytes, message: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        split(data)
    assert caught.value.code == "bad_block"
    assert message in caught.value.message


@pytest.mark.parametrize(("label", "code", "text"), REFUSED.values(), ids=REFUSED)
def test_blocks_of_other_kinds(label: str, code: str, text: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        split(LEAF.replace(b" CERTIFICATE", b" " + label.encode()))
    assert caught.value.code == code
    assert text in str(caught.value)


def test_blocks_know_number_and_line() -> None:
    blocks = split(b"comment\n" + LEAF + b"\n" + LEAF)
    assert list(map(str, blocks)) == ["block 1 (line 2)", f"block 2 (line {LAST + 3})"]


def test_a_block_never_shows_what_is_in_it() -> None:
    (block,) = split(pem(dsa_key()))
    assert block.is_private_key
    assert "der" not in repr(block)


def test_sizes_are_bounded() -> None:
    with pytest.raises(CertificateFault, match="larger than 1 MiB") as caught:
        split(b"x" * (MAXIMUM_BYTES + 1))
    assert caught.value.code == "too_large"
    with pytest.raises(CertificateFault, match="more than 1000 PEM blocks"):
        split(b"-----BEGIN X-----\nAAAA\n-----END X-----\n" * 1001)
