"""What `/v1/certificates` takes and answers. A private key and its passphrase go in and never come out.

Owns:      the models; docs/certificates.md tells of them.
Elsewhere: filling them (certificate_answers.py); the routes (certificates.py).

A field of an answer is only ever added. Times are UTC; null is "not known" or "not of this kind".
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, WithJsonSchema

from clb.certificates.lifecycle import State
from clb.config.fields import Name
from clb.control.models import Answer

LONGEST_PEM = 512 << 10
"""Characters; the bound of a whole body holds as well."""
LONGEST_PASSPHRASE = 1024

_Pem = Annotated[
    str, Field(max_length=LONGEST_PEM, description="PEM text.", examples=["-----BEGIN CERTIFICATE-----\n..."])
]


_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"
_KEY = "-----BEGIN PRIVATE KEY-----\nMIGH...\n-----END PRIVATE KEY-----\n"

CertificateName = Annotated[
    Name,
    WithJsonSchema(
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", "maxLength": 80, "examples": ["shop-2027"]}
    ),
]
"""As the configuration file has names; the schema says so to programs."""


class _Input(BaseModel):
    # Of a body that is not as it should be nothing may be shown: it may be a key in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _with_example(**example: str | bool) -> ConfigDict:
    values: dict[str, JsonValue] = {}
    values.update(example)
    return ConfigDict(json_schema_extra={"examples": [values]})


class Material(_Input):
    """A certificate and, of a server, its private key."""

    model_config = _with_example(certificate=_CERTIFICATE, private_key=_KEY)

    certificate: _Pem
    private_key: SecretStr | None = Field(None, max_length=LONGEST_PEM, description="PEM text; of a server only.")
    passphrase: SecretStr | None = Field(None, max_length=LONGEST_PASSPHRASE, description="Of an encrypted key.")
    reorder: bool = Field(False, description="Put a chain in order that is not.")
    force: bool = Field(False, description="Take it although it is expired, not valid yet, or breaks clients.")


class UploadRequest(Material):
    """`POST /v1/certificates`."""

    model_config = _with_example(name="shop-2027", type="server", certificate=_CERTIFICATE, private_key=_KEY)

    name: CertificateName
    type: Literal["server", "ca"] = "server"


class CheckRequest(Material):
    """`POST /v1/certificates/check`: as an upload or, with `replaces`, as a replacement."""

    model_config = _with_example(type="ca", certificate=_CERTIFICATE)

    type: Literal["server", "ca"] = "server"
    replaces: str | None = Field(None, max_length=100, description="Id of the certificate that it is to replace.")


class RenameRequest(_Input):
    """`PATCH /v1/certificates/{id}`; nothing else of a certificate can be edited."""

    model_config = _with_example(name="shop-2028")

    name: CertificateName


class RollbackRequest(_Input):
    """`POST /v1/certificates/{id}/rollback`; no body asks for the same."""

    model_config = _with_example(force=False)

    force: bool = Field(False, description="Go back although that one is expired or breaks clients.")


# --- answers ---


class FindingAnswer(Answer):
    """Something about an upload."""

    field: str
    """`certificate`, `private_key` or `passphrase`."""
    code: str
    """A word that stays; docs/certificates.md lists them."""
    message: str
    fix: str
    """What to do."""


class UseAnswer(Answer):
    """A listener that uses a certificate."""

    load_balancer: str
    load_balancer_id: str | None
    listener: str
    listener_id: str | None
    purpose: Literal["certificate", "ca_certificate"]
    owner: Literal["api", "file"]
    region: list[str] | None
    """Null: the region of whichever node has it."""
    served_here: bool


class GenerationAnswer(Answer):
    """What a rollback would go back to."""

    generation: int
    state: State = State.REPLACED
    fingerprint: str
    not_before: datetime
    not_after: datetime


class CertificateAnswer(Answer):
    """One certificate; never its key."""

    id: str
    name: str
    type: Literal["server", "ca"]
    owner: Literal["api", "file"]
    state: State | None
    """Null of one that is not loaded on this node."""
    subject: str | None
    issuer: str | None
    names: list[str]
    """Hosts and addresses that a server certificate is for."""
    key: str | None
    """Kind and size, such as `ECDSA P-256`."""
    fingerprint: str | None
    """SHA-256, lower case hexadecimal."""
    not_before: datetime | None
    not_after: datetime | None
    days_left: int | None
    """Negative once it has expired."""
    quarantined: str | None = None
    """Why it cannot be served by this node."""
    used_by: int
    """Listeners."""
    generation: int
    """Counts replacements and rollbacks, from 1."""
    previous: GenerationAnswer | None = None
    forced: bool = False
    """It was taken although it was expired or not valid yet."""
    version: int
    """Its ETag, in quotes."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    replaced_at: datetime | None = None


class CertificateDetail(CertificateAnswer):
    """`GET /v1/certificates/{id}`."""

    certificate: str | None
    """The chain or the CA's certificates as PEM."""
    uses: list[UseAnswer]


class CertificateList(Answer):
    """`GET /v1/certificates`."""

    certificates: list[CertificateAnswer]
    next: str | None = None


class Uses(Answer):
    """`GET /v1/certificates/{id}/where`."""

    uses: list[UseAnswer]


class CertificateWritten(Answer):
    """What an upload, a rename, a replacement or a rollback came to."""

    certificate: CertificateAnswer
    warnings: list[FindingAnswer] = Field(default_factory=list)
    swapped: list[UseAnswer] = Field(default_factory=list)
    """Listeners that show the new generation."""
    broken: list[str] = Field(default_factory=list)
    """With `force`: the clients that are not served any more."""


class CheckAnswer(Answer):
    """`POST /v1/certificates/check`; nothing was stored."""

    ok: bool
    errors: list[FindingAnswer]
    warnings: list[FindingAnswer]
    subject: str | None = None
    issuer: str | None = None
    names: list[str] = Field(default_factory=list)
    key: str | None = None
    fingerprint: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    state: State | None = None


# --- the keyring ---


class KeyringKey(Answer):
    """One key of the keyring, or one that the store needs and the keyring lacks."""

    id: str
    current: bool
    present: bool
    sealed: int
    """Private keys that are stored under it, previous generations among them."""


class KeyringAnswer(Answer):
    """`GET /v1/keyring`: ids, never a key."""

    loaded: bool
    keys: list[KeyringKey]


class RewrapAnswer(Answer):
    """`POST /v1/keyring/rewrap`."""

    current: str
    moved: int
    """Private keys that are now under the current key."""
    left: list[str]
    """Certificates whose stored key does not open, and why."""
