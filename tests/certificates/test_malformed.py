"""A thousand malformed PEM files: each gives a fault by a known code or loads, and nothing else happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from certificate_lab import NOW, certificate, ec_key, pem, revocation_list, rsa_key
from malformed_pem import variants

from clb.certificates.authority import load_ca_certificate
from clb.certificates.faults import CODES, CertificateFault
from clb.certificates.revocation import check_issuers, load_crl
from clb.certificates.server import load_server_certificate

ROOT_KEY, KEY = ec_key("root"), ec_key("leaf")
ROOT = certificate("root", ROOT_KEY, ca=True, sign=True)
CHAIN = pem(certificate("leaf", KEY, ("root", ROOT_KEY), names=("a.example", "10.0.0.5")), ROOT)
RSA = pem(certificate("rsa", rsa_key(), names=("a.example",)))
AUTHORITY = load_ca_certificate(pem(ROOT), now=NOW)


def load_revocations(data: bytes) -> None:
    check_issuers(load_crl(data, now=NOW), AUTHORITY)


# what is malformed: (original, how it is loaded)
FILES: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "chain": (CHAIN, lambda data: load_server_certificate(data, pem(KEY), now=NOW)),
    "rsa_certificate": (RSA, lambda data: load_server_certificate(data, pem(rsa_key()), now=NOW)),
    "key": (pem(KEY), lambda data: load_server_certificate(CHAIN, data, now=NOW)),
    "rsa_key": (pem(rsa_key()), lambda data: load_server_certificate(RSA, data, now=NOW)),
    "authority": (pem(ROOT, certificate("other", KEY, ca=True)), lambda data: load_ca_certificate(data, now=NOW)),
    "revocations": (pem(revocation_list("root", ROOT_KEY)), load_revocations),
}


@pytest.mark.parametrize(("original", "load"), FILES.values(), ids=FILES)
def test_malformed_files(original: bytes, load: Callable[[bytes], object]) -> None:
    load(original)
    refused = sum(is_refused(data, load) for data in variants(original, 200, seed=len(FILES)))
    assert refused > 100


def is_refused(data: bytes, load: Callable[[bytes], object]) -> bool:
    """Whether there was a fault; one that is not fit to be shown fails the test."""
    lines = [line.decode("latin-1") for line in data.splitlines() if len(line) > 20 and b"-----" not in line]
    fault = fault_of(data, load)
    if fault is None:
        return False
    assert fault.code in CODES
    assert fault.message.isprintable()
    assert fault.fix
    assert not any(line in str(fault) for line in lines)
    return True


def fault_of(data: bytes, load: Callable[[bytes], object]) -> CertificateFault | None:
    try:
        load(data)
    except CertificateFault as fault:
        return fault
    return None
