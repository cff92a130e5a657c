"""What a listener is willing to negotiate: the three policies.

Owns:      cipher strings, protocol bounds, and whose order of suites counts.
Elsewhere: putting a policy into an SSLContext (contexts.py); proving what it negotiates (audit.py).
Pure:      constants. docs/tls.md tells what each policy means to a client.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

# The FAQ's string, byte for byte. It is a public promise: nothing is added, removed or put in another order.
DOCUMENTED_CIPHERS = (
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-CHACHA20-POLY1305:kEDH+AESGCM:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256:"
    "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA384:"
    "ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128:AES256:AES:HIGH:"
    "!aNULL:!eNULL:!EXPORT:!DES:!RC4:!MD5:!PSK"
)

# Mozilla's "intermediate" configuration, guideline 5.7.
INTERMEDIATE_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds of one listener's negotiation."""

    name: str
    cipher_string: str
    """Suites up to TLS 1.2. The three of TLS 1.3 are OpenSSL's own and no string governs them."""
    minimum: ssl.TLSVersion
    maximum: ssl.TLSVersion
    server_preference: bool
    """True: the order of `cipher_string` decides. False: the client's does, as it knows its own hardware."""
    security_level: int | None
    """OpenSSL's security level when it must differ from the build's own; None leaves it alone."""

    @property
    def openssl_cipher_string(self) -> str:
        """What `set_ciphers` is given."""
        if self.security_level is None:
            return self.cipher_string
        return f"{self.cipher_string}:@SECLEVEL={self.security_level}"


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            name="documented",
            cipher_string=DOCUMENTED_CIPHERS,
            # Means TLS 1.0 here: SSLv3 is off by option. Naming TLSv1 would raise a deprecation warning.
            minimum=ssl.TLSVersion.MINIMUM_SUPPORTED,
            maximum=ssl.TLSVersion.MAXIMUM_SUPPORTED,
            server_preference=True,
            # OpenSSL 3 has no TLS 1.0 and 1.1 above level 0, since both sign with MD5 and SHA-1.
            security_level=0,
        ),
        Policy(
            name="intermediate",
            cipher_string=INTERMEDIATE_CIPHERS,
            minimum=ssl.TLSVersion.TLSv1_2,
            maximum=ssl.TLSVersion.MAXIMUM_SUPPORTED,
            server_preference=False,
            security_level=None,
        ),
        Policy(
            name="modern",
            # Never negotiated below 1.3, but OpenSSL refuses an empty list.
            cipher_string=INTERMEDIATE_CIPHERS,
            minimum=ssl.TLSVersion.TLSv1_3,
            maximum=ssl.TLSVersion.MAXIMUM_SUPPORTED,
            server_preference=False,
            security_level=None,
        ),
    )
}
