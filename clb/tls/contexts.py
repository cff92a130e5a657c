"""The SSLContexts of one listener, and which of them serves a name.

Owns:      the keyless base, one context per certificate (or RSA and ECDSA pair), the swap.
Elsewhere: the policies (policy.py); which certificate serves a name (server_names.py); names that never reach
           our callback (sni_errors.py); the handshake (engine.py).

The base is what connections are made from: session tickets, protocol versions, options and verification
flags stay with it, so tickets survive a change of certificate, and it can be made before a fork because it
holds no key. What the SNI callback swaps in brings certificate, CA, CRL, DH group, ALPN, suites and security
level (OpenSSL keeps the level beside the certificate), so both are given the cipher string.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal

from clb.tls.dh_parameters import FFDHE2048_PEM
from clb.tls.memory_file import memory_file
from clb.tls.policy import Policy
from clb.tls.server_names import NameTable, default_group, group_by_name, name_table

Verify = Literal["off", "optional", "required"]
Part = Literal["certificate", "ca_certificate", "crl"]

ALPN_PROTOCOLS = ["http/1.1"]

# Two, OpenSSL's own number: browsers open connections in parallel and use a ticket once
# (docs/decisions/session-tickets.md). A resumed handshake sends one.
TLS13_TICKETS = 2

_VERIFY_MODES: dict[Verify, ssl.VerifyMode] = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain with its key, and the names it serves."""

    chain_pem: bytes = field(repr=False)
    private_key_pem: bytes = field(repr=False)
    names: tuple[str, ...]
    key_type: str
    """RSA or ECDSA: one of each is served for the same name."""


class ServerSide(ssl.SSLObject):
    """Our side of one connection; the standard library tells the server name to the callback only."""

    server_name: str | None = None


_TRIALS_AT_ONCE: Final = min(4, os.cpu_count() or 1)


class ContextFault(ValueError):
    """OpenSSL refuses a certificate, CA or CRL under this policy; nothing was changed."""

    def __init__(self, part: Part, text: str, identity: Identity | None = None) -> None:
        super().__init__(text)
        self.part = part
        self.identity = identity


@dataclass(slots=True)
class SniCounts:
    """Handshakes that were given the default certificate, by reason."""

    without_name: int = 0
    """The client sent no server name."""
    unmatched: int = 0
    """The client asked for a name that no certificate covers."""


class _Entry:
    """What is served for some names; its context is built now, or by the first client who needs it."""

    __slots__ = ("_build", "_context", "identities")

    def __init__(
        self, identities: tuple[Identity, ...], build: Callable[[tuple[Identity, ...]], ssl.SSLContext]
    ) -> None:
        self.identities = identities
        self._build = build
        self._context: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """Raises ContextFault if OpenSSL refuses it, which was tried before where it is built late."""
        context = self._context
        if context is None:
            context = self._context = self._build(self.identities)
        return context


@dataclass(frozen=True, slots=True)
class PreparedCertificates:
    """A set of certificates that is ready to be served, and is not served yet."""

    identities: tuple[Identity, ...]
    table: NameTable[_Entry]
    entries: dict[tuple[Identity, ...], _Entry]


class ListenerContexts:
    """Everything a listener needs to begin handshakes; `replace` swaps certificates under it.

    Made without identities it holds no key. `base` may be a bare context that was made before a fork: what is set up
    on it is each process's own, and the ticket keys are shared, so that the workers resume each other's sessions.
    """

    def __init__(
        self,
        policy: Policy,
        identities: Sequence[Identity] = (),
        verify: Verify = "off",
        ca_pem: bytes | None = None,
        crl_pem: bytes | None = None,
        base: ssl.SSLContext | None = None,
    ) -> None:
        if verify != "off" and ca_pem is None:
            raise ValueError("a client certificate can only be verified against a CA")
        self.policy = policy
        self.verify: Verify = verify
        self.counts = SniCounts()
        self.identities: tuple[Identity, ...] = ()
        """What is served, the default first."""
        self._ca_pem = ca_pem if verify != "off" else None
        self._crl_pem = crl_pem if verify != "off" else None
        self._entries: dict[tuple[Identity, ...], _Entry] = {}
        self._table: NameTable[_Entry] = NameTable({}, {}, None)
        self.base = base if base is not None else bare_context()
        self._set_up_base(self.base)
        if identities:
            self.replace(identities)

    def choose(self, server_name: str | None) -> ssl.SSLContext:
        """The certificate context for a name: exact, then wildcard, then the default."""
        return self._entry(server_name).context

    def identities_for(self, server_name: str | None) -> tuple[Identity, ...]:
        """What `choose` would serve, at most one per key type."""
        return self._entry(server_name).identities

    def is_for(self, policy: Policy, verify: Verify, ca_pem: bytes | None, crl_pem: bytes | None) -> bool:
        """Whether these are what it was made with: only then may sessions of the one be resumed in the other."""
        ours = (self.policy, self.verify, self._ca_pem, self._crl_pem)
        return ours == (policy, verify, ca_pem if verify != "off" else None, crl_pem if verify != "off" else None)

    def replace(self, identities: Sequence[Identity]) -> None:
        """Serve these from the next handshake on; ContextFault if one is unusable: nothing changes."""
        steps = self.prepare(identities)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                self.install(stop.value)
                return

    def prepare(
        self, identities: Sequence[Identity], *, are_tried: bool = False
    ) -> Generator[None, None, PreparedCertificates]:
        """Make ready to serve these, one certificate at a step; ContextFault if one is unusable.

        What did not change keeps its context: replacing one certificate of a thousand builds one. Of those that were
        tried (`try_identities`) only the default is built: a start with a thousand need not wait for a second.
        """
        if not identities:
            raise ValueError("a listener needs a certificate")
        groups = group_by_name(identities)
        default = default_group(identities, groups)
        entries: dict[tuple[Identity, ...], _Entry] = {}
        for group in dict.fromkeys([default, *groups.values()]):
            entry = self._entries.get(group)
            if entry is None:
                entry = _Entry(group, self._build_context)
                if not are_tried or group is default:
                    entry.context  # noqa: B018 - it is built
                    yield
            entries[group] = entry
        return PreparedCertificates(tuple(identities), name_table(groups, entries, entries[default]), entries)

    def install(self, prepared: PreparedCertificates) -> None:
        """Serve what was prepared from the next handshake on."""
        self.identities, self._table, self._entries = prepared.identities, prepared.table, prepared.entries

    def _entry(self, server_name: str | None) -> _Entry:
        table = self._table
        entry = (server_name is not None and table.find(server_name)) or table.default
        if entry is None:
            raise LookupError("the listener has no certificate yet")
        return entry

    def _swap(self, ssl_object: ssl.SSLObject, server_name: str | None, base: ssl.SSLContext) -> int | None:
        table = self._table
        entry = None
        if isinstance(ssl_object, ServerSide):
            ssl_object.server_name = server_name
        if server_name is None:
            self.counts.without_name += 1
        elif (entry := table.find(server_name)) is None:
            self.counts.unmatched += 1
        entry = entry or table.default
        if entry is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        ssl_object.context = entry.context
        return None

    def _set_up_base(self, context: ssl.SSLContext) -> None:
        # All of it, whatever it was before: a base may have been set up for a change that was then given up.
        context.set_ciphers(self.policy.openssl_cipher_string)
        context.minimum_version = self.policy.minimum
        context.maximum_version = self.policy.maximum
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if self.policy.server_preference:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = TLS13_TICKETS
        context.verify_mode = _VERIFY_MODES[self.verify]
        # The bound CA is the anchor, be it a root or an intermediate: what it signed is accepted, no more.
        flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags = flags | (ssl.VERIFY_CRL_CHECK_LEAF if self._crl_pem is not None else 0)
        # Fires for clients without a server name too, which is what lets the base do without a certificate.
        context.sni_callback = self._swap
        context.sslobject_class = ServerSide

    def _build_context(self, group: tuple[Identity, ...]) -> ssl.SSLContext:
        context = _new_context(self.policy)
        context.set_alpn_protocols(ALPN_PROTOCOLS)
        with memory_file(FFDHE2048_PEM) as path:
            context.load_dh_params(path)
        for identity in group:
            _load_identity(context, identity)
        if self._ca_pem is not None:
            _load_trusted(context, "ca_certificate", self._ca_pem)
        if self._crl_pem is not None:
            _load_trusted(context, "crl", self._crl_pem)
        return context


def bare_context() -> ssl.SSLContext:
    """Return what a base begins as. Its ticket keys are drawn here and never change."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def try_identities(policy: Policy, identities: Iterable[Identity]) -> Iterator[ContextFault]:
    """What OpenSSL has against certificates under a policy, without a context for each of them.

    It checks that a key and a certificate belong together, which takes it a millisecond and no lock of ours.
    """
    contexts = threading.local()

    def trial(identity: Identity) -> ContextFault | None:
        if not hasattr(contexts, "own"):
            contexts.own = _new_context(policy)
        try:
            _load_identity(contexts.own, identity)
        except ContextFault as fault:
            return fault
        return None

    with ThreadPoolExecutor(_TRIALS_AT_ONCE) as pool:
        yield from (fault for fault in pool.map(trial, identities) if fault is not None)


def _new_context(policy: Policy) -> ssl.SSLContext:
    context = bare_context()
    context.set_ciphers(policy.openssl_cipher_string)
    return context


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    try:
        with memory_file(identity.chain_pem) as chain, memory_file(identity.private_key_pem) as key:
            # The empty password turns an encrypted key into an error; without it OpenSSL asks the terminal.
            context.load_cert_chain(chain, key, password="")
    except ssl.SSLError as error:
        raise ContextFault("certificate", _explain(error), identity) from error


def _load_trusted(context: ssl.SSLContext, part: Part, pem: bytes) -> None:
    try:
        # By file and not by `cadata`, which takes no CRL.
        with memory_file(pem) as path:
            context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ContextFault(part, _explain(error)) from error


def _explain(error: ssl.SSLError) -> str:
    return _EXPLANATIONS.get(error.reason or "", f"OpenSSL does not take it: {error.reason or error}")


_EXPLANATIONS = {
    "EE_KEY_TOO_SMALL": "its key is too small for this policy (RSA under 2048 bits)",
    "CA_KEY_TOO_SMALL": "a CA in its chain has a key too small for this policy (RSA under 2048 bits)",
    "CA_MD_TOO_WEAK": "a certificate in its chain has a signature too weak for this policy (MD5 or SHA-1)",
    "KEY_VALUES_MISMATCH": "the private key is not the certificate's",
}
