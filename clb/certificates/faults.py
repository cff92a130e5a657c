"""Say what is wrong with a certificate or key, by a stable code, and how to mend it.

Owns:      the codes, which are a public contract: API, CLI and log show the same ones.
Elsewhere: finding the faults (pem.py, server.py, authority.py, revocation.py).
Pure:      plain values. In `fix`, FILE stands for the name of the file, which only the caller knows.
"""

from __future__ import annotations

from dataclasses import dataclass

CODES = {
    "empty": "nothing in it",
    "too_large": "larger than any certificate",
    "is_der": "DER in place of PEM",
    "is_pkcs7": "PKCS#7 in place of PEM certificates",
    "is_pkcs12": "PKCS#12 in place of PEM",
    "is_jks": "a Java keystore in place of PEM",
    "not_pem": "no PEM block in it",
    "bad_block": "a PEM block that is damaged",
    "wrong_block": "a PEM block of another kind than belongs here",
    "bad_certificate": "a certificate that cannot be read",
    "key_missing": "no private key",
    "key_repeated": "more than one private key",
    "key_encrypted": "a private key under a passphrase",
    "wrong_passphrase": "a passphrase that does not open the private key",
    "key_too_slow": "a passphrase that takes too much work to check",
    "key_in_certificate": "a private key where only certificates belong",
    "key_not_wanted": "a private key along with a CA certificate",
    "bad_key": "a private key that cannot be read",
    "key_unsupported": "a kind of key that is not served",
    "weak_key": "a key that is too short",
    "weak_signature": "a signature by a broken hash",
    "key_mismatch": "the private key of another certificate",
    "chain_order": "certificates in the wrong order",
    "chain_reordered": "certificates that were put in order",
    "chain_broken": "an issuer whose key did not sign",
    "missing_intermediate": "the issuer of a certificate is not there",
    "leaf_is_ca": "a CA certificate in place of a server certificate",
    "not_ca": "a certificate that may not sign others",
    "no_names": "a server certificate for no host",
    "names_uncovered": "domains of rules that the certificate is not for",
    "duplicate": "a certificate that is there already",
    "expired": "no longer valid",
    "expires_soon": "valid for a short time only",
    "not_yet_valid": "not valid yet",
    "bad_crl": "a revocation list that cannot be read",
}


class CertificateFault(Exception):
    """Cannot be used; `code` is one of `CODES`."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        assert code in CODES
        super().__init__(f"{message}; {fix}")
        self.code = code
        self.message = message
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Remark:
    """Can be used, but somebody should know; `code` is one of `CODES`."""

    code: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}"
