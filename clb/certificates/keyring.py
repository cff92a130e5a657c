"""Keep private keys encrypted at rest: envelope encryption under the key-encryption keys of a keyring.

Owns:      the format of a keyring and of a sealed key, sealing, opening, and moving to another key.
Elsewhere: where a keyring comes from (keyring_source.py); where sealed keys are kept (store/).
Pure:      bytes in, bytes out; randomness is the system's. No text of an error ever holds a secret.

**A keyring** is ASCII text. Each line that is neither empty nor begins with `#` has keys, white space between them (so
that a keyring fits into one line of an environment file). A key is `clb-key-v1:` and 32 random bytes in standard
base64. The first key is the *current* one: it seals. All of them open.

**The id of a key** follows from the key, so no keyring can give a key a wrong one: `k1-` and 16 hexadecimal digits of
HKDF-SHA256(key, info "clb keyring v1 id"). The key itself encrypts nothing; what wraps is
HKDF-SHA256(key, info "clb keyring v1 wrap"); the Ed25519 key that signs the ledger's hours is
HKDF-SHA256(key, info "clb keyring v1 sign"). `k1` is the version of everything below.

**A sealed key** (`SealedKey`) is made of a fresh random data key of 32 bytes, by AES-256-GCM with random nonces of 12
bytes and tags of 16, each in the order nonce, ciphertext, tag:

    wrapped  the data key, under a key of the keyring: ["clb store v1", "data key", certificate, generation, key id]
    sealed   the private key, under the data key: ["clb store v1", "private key", certificate, generation, chain]

The compact JSON of the list behind each is its associated data; `chain` is the SHA-256 of the certificates that the key
is stored with, in hexadecimal. So a record that is moved to another certificate or generation, or of which one bit is
another (of the chain, too), does not open. `sealed` is not bound to the keyring's key,
hence moving to another one (`rewrap`) decrypts and writes the data key alone. A data key seals one text, so nonces
never repeat under it; under a keyring's key they stay far below the 2**32 texts that random nonces allow.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from clb.store.inventory import SealedKey

KEY_BYTES: Final = 32
MOST_KEYS: Final = 16
LARGEST_SECRET: Final = 16 << 10
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PREFIX: Final = "clb-key-v1:"
_PURPOSE: Final = "clb store v1"


class KeyringFault(Exception):
    """A keyring or what it sealed cannot be used; the text is for the operator and has no secret in it."""

    code = "keyring_fault"


class KeyringMissing(KeyringFault):
    """There is none where it should be."""

    code = "keyring_missing"


class KeyringMalformed(KeyringFault):
    """What is there is no keyring, or others may read it."""

    code = "keyring_malformed"


class WrongKeyring(KeyringFault):
    """Sealed under a key that this keyring does not have."""

    code = "keyring_wrong"

    def __init__(self, needed: str, present: Sequence[str]) -> None:
        super().__init__(
            f"the keyring does not have the key {shown_id(needed)}, which the stored private key needs; "
            f"it has {', '.join(present)}; give the keyring that the key was stored with"
        )
        self.needed = needed
        self.present = tuple(present)


class SealedKeyDamaged(KeyringFault):
    """A record is not what was written: bits of it differ, or it was another certificate's."""

    code = "key_damaged"


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    wrapping: AESGCM = field(repr=False)
    signing: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, key: bytes) -> _Key:
        signing = Ed25519PrivateKey.from_private_bytes(_derived(key, "sign", KEY_BYTES))
        return cls(f"k1-{_derived(key, 'id', 8).hex()}", AESGCM(_derived(key, "wrap", KEY_BYTES)), signing)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs closed hours of the ledger, so that whoever writes the database cannot make them."""

    key_id: str
    _key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """Whom to check a signature with."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature (RFC 8032), 64 bytes."""
        return self._key.sign(data)


class Keyring:
    """The keys that private keys are stored under; shows nothing but their ids."""

    def __init__(self, keys: Sequence[_Key]) -> None:
        self._keys = {key.id: key for key in keys}
        self.current = keys[0].id
        """Id of the key that seals."""

    @classmethod
    def from_secret(cls, secret: bytes) -> Keyring:
        """Understand the text of a keyring.

        Raises:
            KeyringMalformed: it is none.
        """
        return cls([_Key.of(key) for key in _read(secret)])

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys, the current one first."""
        return tuple(self._keys)

    @property
    def signer(self) -> Signer:
        """Signs with what is derived of the current key."""
        return Signer(self.current, self._keys[self.current].signing)

    def public_key(self, key_id: str) -> bytes | None:
        """What signatures of one of the keys are checked with; None of a key that is not here."""
        key = self._keys.get(key_id)
        return key.signing.public_key().public_bytes_raw() if key is not None else None

    def seal(self, key_pem: bytes, certificate_id: str, generation: int, chain_pem: str) -> SealedKey:
        """Encrypt a private key; it opens for the same certificate, generation and chain only."""
        data_key = secrets.token_bytes(KEY_BYTES)
        sealed = _encrypt(AESGCM(data_key), key_pem, _key_context(certificate_id, generation, chain_pem))
        return SealedKey(self.current, self._wrap(data_key, certificate_id, generation), sealed)

    def open(self, sealed: SealedKey, certificate_id: str, generation: int, chain_pem: str) -> bytes:
        """Decrypt a private key.

        Raises:
            WrongKeyring: it is under a key that is not here.
            SealedKeyDamaged: it is not what was sealed.
        """
        data_key = self._unwrap(sealed, certificate_id, generation)
        return _decrypt(AESGCM(data_key), sealed.sealed, _key_context(certificate_id, generation, chain_pem))

    def rewrap(self, sealed: SealedKey, certificate_id: str, generation: int) -> SealedKey:
        """Move to the current key; the same object if it is there already. The private key stays encrypted.

        Raises:
            WrongKeyring, SealedKeyDamaged: see `open`.
        """
        if sealed.key_id == self.current:
            return sealed
        data_key = self._unwrap(sealed, certificate_id, generation)
        return SealedKey(self.current, self._wrap(data_key, certificate_id, generation), sealed.sealed)

    def _wrap(self, data_key: bytes, certificate_id: str, generation: int) -> bytes:
        context = _context("data key", certificate_id, generation, self.current)
        return _encrypt(self._keys[self.current].wrapping, data_key, context)

    def _unwrap(self, sealed: SealedKey, certificate_id: str, generation: int) -> bytes:
        key = self._keys.get(sealed.key_id)
        if key is None:
            self._check_id(sealed, certificate_id, generation)
            raise WrongKeyring(sealed.key_id, self.key_ids)
        context = _context("data key", certificate_id, generation, key.id)
        data_key = _decrypt(key.wrapping, sealed.wrapped, context)
        if len(data_key) != KEY_BYTES:
            raise SealedKeyDamaged("the stored private key has a data key of a wrong length")
        return data_key

    def _check_id(self, sealed: SealedKey, certificate_id: str, generation: int) -> None:
        """Tell a record whose key id is damaged from one that needs another keyring."""
        for key in self._keys.values():
            context = _context("data key", certificate_id, generation, key.id)
            if _opens(key.wrapping, sealed.wrapped, context):
                raise SealedKeyDamaged("the stored private key names another key of the keyring than it is under")

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"


# --- the text of a keyring ---


def new_secret() -> bytes:
    """Return a keyring with one key that was never used."""
    return _write([secrets.token_bytes(KEY_BYTES)])


def with_new_key(secret: bytes) -> bytes:
    """Return the same keyring with a new current key in front.

    Raises:
        KeyringMalformed: it is none, or it is full.
    """
    keys = _read(secret)
    if len(keys) >= MOST_KEYS:
        raise KeyringMalformed(f"the keyring has {len(keys)} keys already; drop old ones first")
    return _write([secrets.token_bytes(KEY_BYTES), *keys])


def with_current_key_only(secret: bytes) -> bytes:
    """Return the same keyring without the keys that only open.

    Raises:
        KeyringMalformed: it is none.
    """
    return _write(_read(secret)[:1])


def shown_id(key_id: str) -> str:
    """A key's id as a message may show it: of a damaged record it can be anything."""
    shown = "".join(char if char.isascii() and char.isprintable() else "?" for char in key_id[:40])
    return shown or "(empty)"


def _write(keys: Sequence[bytes]) -> bytes:
    lines = [
        "# clb keyring: it opens the stored private keys. Losing it is losing them: keep a copy elsewhere.",
        *(_PREFIX + base64.b64encode(key).decode("ascii") for key in keys),
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _read(secret: bytes) -> list[bytes]:
    if len(secret) > LARGEST_SECRET:
        raise KeyringMalformed(f"the keyring is larger than {LARGEST_SECRET} bytes")
    try:
        text = secret.decode("ascii")
    except UnicodeDecodeError:
        raise KeyringMalformed("the keyring is no ASCII text; make one with: clb keyring init") from None
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = [word for line in lines for word in line.split()]
    if not words:
        raise KeyringMalformed("the keyring is empty; make one with: clb keyring init")
    if len(words) > MOST_KEYS:
        raise KeyringMalformed(f"the keyring has more than {MOST_KEYS} keys")
    keys = [_read_key(word, number) for number, word in enumerate(words, start=1)]
    if len(set(keys)) < len(keys):
        raise KeyringMalformed("the keyring has a key twice; remove one of them")
    return keys


def _read_key(word: str, number: int) -> bytes:
    # Never quoted, and never said how much of it is right.
    fault = KeyringMalformed(
        f'key {number} of the keyring is not "{_PREFIX}" with {KEY_BYTES} bytes in base64; '
        "make a keyring with: clb keyring init"
    )
    if not word.startswith(_PREFIX):
        raise fault
    try:
        key = base64.b64decode(word.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise fault from None
    if len(key) != KEY_BYTES:
        raise fault
    return key


# --- the cipher ---


def _derived(key: bytes, what: str, length: int) -> bytes:
    return HKDFExpand(SHA256(), length, f"clb keyring v1 {what}".encode("ascii")).derive(key)


def _context(*parts: str | int) -> bytes:
    return json.dumps([_PURPOSE, *parts], separators=(",", ":")).encode("ascii")


def _key_context(certificate_id: str, generation: int, chain_pem: str) -> bytes:
    chain = sha256(chain_pem.encode("utf-8", "replace")).hexdigest()
    return _context("private key", certificate_id, generation, chain)


def _encrypt(cipher: AESGCM, text: bytes, context: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, text, context)


def _decrypt(cipher: AESGCM, data: bytes, context: bytes) -> bytes:
    if len(data) < _NONCE_BYTES + _TAG_BYTES:
        raise SealedKeyDamaged("the stored private key is cut short")
    try:
        return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context)
    except InvalidTag:
        raise SealedKeyDamaged(
            "the stored private key or its chain is damaged, or is another certificate's; "
            "restore the store from a backup, or upload the certificate anew"
        ) from None


def _opens(cipher: AESGCM, data: bytes, context: bytes) -> bool:
    try:
        _decrypt(cipher, data, context)
    except SealedKeyDamaged:
        return False
    return True
