"""The keyring of the control process: given by the loader, or made when the first private key is to be stored.

Owns:      which keyring seals and opens now, and when a new one may be made.
Elsewhere: keyrings (certificates/keyring.py); where they come from (certificates/keyring_source.py); the loader, which
           reads them as a user who may (service/).
Shell:     may write `state_dir/keyring`, once.
"""

from __future__ import annotations

import logging
from pathlib import Path

from clb.certificates.keyring import Keyring, KeyringMissing
from clb.certificates.keyring_source import is_made_at_need, keyring_file, load_keyring, make_keyring
from clb.config.models import Keyring as Source
from clb.observe.logging import fields
from clb.store.inventory import Inventory

_NOTHING = Source()

_logger = logging.getLogger(__name__)


class KeyringHolder:
    """One in the control process."""

    def __init__(self, state_dir: Path | None = None, source: Source = _NOTHING, secret: bytes | None = None) -> None:
        self._state_dir = state_dir
        """None: nothing can be made."""
        self._keyring: Keyring | None = None
        self._source = source
        self.take(source, secret)

    def take(self, source: Source, secret: bytes | None) -> None:
        """Take what the loader read; None: it found none, and none was needed."""
        self._source = source
        if secret is not None:
            self._keyring = Keyring.from_secret(secret)

    @property
    def keyring(self) -> Keyring | None:
        """What there is."""
        return self._keyring

    def to_open(self) -> Keyring:
        """The keyring for keys that are stored.

        Raises:
            KeyringMissing: there is none.
        """
        if self._keyring is None:
            raise KeyringMissing("this node has no keyring; its log says why, and clb reload reads it again")
        return self._keyring

    def to_seal(self, inventory: Inventory) -> Keyring:
        """The keyring for a key that is to be stored; made now if it is the first and nothing is configured.

        Raises:
            KeyringFault: there is none and none can be made.
        """
        if self._keyring is not None:
            return self._keyring
        if self._state_dir is None or not is_made_at_need(self._source) or sealed_keys(inventory):
            return self.to_open()
        path = keyring_file(self._source, self._state_dir)
        try:
            secret = load_keyring(self._source, self._state_dir)
        except KeyringMissing:
            secret = make_keyring(path)
            _logger.warning(
                "keyring made; losing it is losing the stored private keys: back it up, and move it away from the "
                "database (keyring.file)",
                extra=fields(file=str(path)),
            )
        self._keyring = Keyring.from_secret(secret)
        return self._keyring


def sealed_keys(inventory: Inventory) -> dict[str, int]:
    """How many private keys are stored under each key of a keyring, previous generations among them."""
    counts: dict[str, int] = {}
    for certificate in inventory.certificates.values():
        for material in (certificate.material, certificate.previous):
            if material is not None and material.sealed_key is not None:
                counts[material.sealed_key.key_id] = counts.get(material.sealed_key.key_id, 0) + 1
    return counts
