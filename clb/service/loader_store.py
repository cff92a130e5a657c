"""What a load needs of the store: everything at one revision, and what opens its keys.

Owns:      what becomes of a load when the store is away or new, and when the keyring is missing.
Elsewhere: the database (store/); where a keyring comes from (certificates/keyring_source.py).
Shell:     in the loader, which runs as whoever started the service, and in `clb check`, which changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clb.certificates.keyring import Keyring, KeyringFault, KeyringMissing
from clb.certificates.keyring_source import load_keyring
from clb.config.models import Config
from clb.service.privileges import find_user
from clb.service.start_error import StartError
from clb.store.interface import SchemaFault, Store, StoreAway
from clb.store.inventory import Inventory
from clb.store.snapshot_file import NoSnapshot, read_snapshot


@dataclass(frozen=True, slots=True)
class StoreContents:
    """What was found."""

    inventory: Inventory
    is_known: bool = True
    """False if there is a store and nothing is known of what it has."""
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """A keyring, understood, and the text that it was read from."""

    keyring: Keyring
    text: bytes = field(repr=False)


def read_store(config: Config, *, may_prepare: bool) -> StoreContents:
    """Read the store of a configuration; `may_prepare` allows to bring it to the newest schema, and to make it."""
    url = config.store.url.get_secret_value() if config.store.url is not None else None
    if url is None and not (config.node.state_dir / "clb.db").exists():
        return StoreContents(Inventory())  # Nothing was ever stored.
    try:
        store = _opened(config, url, may_prepare=may_prepare)
        try:
            return StoreContents(store.read())
        finally:
            store.close()
    except SchemaFault as fault:
        if not may_prepare:
            return StoreContents(Inventory(), is_known=False, warnings=(f"store: {fault}; what it has is not checked",))
        return StoreContents(Inventory(), is_known=False, faults=(f"store: {fault}",))
    except StoreAway as fault:
        return _without(config, str(fault))


def _opened(config: Config, url: str | None, *, may_prepare: bool) -> Store:
    # Here and not above: SQLAlchemy has no place in the memory of the processes that serve.
    from clb.store.database import open_store, prepare_store

    state_dir = config.node.state_dir
    if not may_prepare:
        return open_store(url, state_dir)
    try:
        user = find_user(config.node.user)
    except StartError:
        user = None  # Said where the user is needed.
    return prepare_store(url, state_dir, (user.user, user.group) if user is not None else None)


def _without(config: Config, why: str) -> StoreContents:
    snapshot = read_snapshot(config.node.state_dir)
    if isinstance(snapshot, NoSnapshot):
        warning = f"store: cannot be reached ({why}), and {snapshot.reason}; what it has is left out until it can"
        return StoreContents(Inventory(), is_known=False, warnings=(warning,))
    warning = f"store: cannot be reached ({why}); what it had at revision {snapshot.revision} is served"
    return StoreContents(snapshot, warnings=(warning,))


def read_keyring(config: Config, *, is_needed: bool) -> Secret | None:
    """Read the keyring; None if there is none and none is needed.

    Raises:
        KeyringFault: it cannot be had or used.
    """
    try:
        text = load_keyring(config.keyring, config.node.state_dir)
    except KeyringMissing as fault:
        if is_needed:
            raise KeyringFault(f"{fault}; it is needed for the private keys in the store") from fault
        return None
    return Secret(Keyring.from_secret(text), text)
