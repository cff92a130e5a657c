"""Loading all that a configuration points to: every fault at its YAML key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from certificate_lab import NOW, certificate, der, ec_key, pem, revocation_list

from clb.config.faults import ConfigErrors
from clb.config.loader import load
from clb.service.materials import Inspection, inspect, load_all

ROOT_KEY, WEB_KEY, API_KEY, OLD_KEY = (ec_key(name) for name in ("root", "web", "api", "old"))
ROOT = certificate("root", ROOT_KEY, ca=True)
WEB = certificate("web", WEB_KEY, ("root", ROOT_KEY), names=("shop.example", "*.shop.example"))
API = certificate("api", API_KEY, names=("api.example",))
CRL = revocation_list("root", ROOT_KEY)
OLD = certificate("old", OLD_KEY, names=("shop.example",))

DOCUMENT = """\
node: {region: here}
certificates:
  web: {type: server, certificate: web.pem, private_key: web.key}
  api: {type: server, certificate: api.pem, private_key: api.key}
  old: {type: server, certificate: old.pem, private_key: old.key}
  root: {type: ca, certificate: root.pem}
load_balancers:
  - name: shop
    listeners:
      - name: front
        sni: true
        certificates: [web, api]
        ssl_mode: mutual
        ca_certificate: root
        crl: root.crl
        rules:
          - {domain: shop.example, default: true, targets: [{address: 10.0.0.1, port: 80}]}
  - name: elsewhere
    region: far
    listeners:
      - name: front
        certificate: old
        rules:
          - {domain: shop.example, default: true, targets: [{address: 10.0.0.1, port: 80}]}
"""

Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Write the configuration and all its files, some of them changed or (None) left out."""

    def write(document: str = DOCUMENT, **changes: bytes | None) -> Path:
        files: dict[str, bytes | None] = {
            "web.pem": pem(WEB),
            "web.key": pem(WEB_KEY),
            "api.pem": pem(API),
            "api.key": pem(API_KEY),
            "old.pem": pem(OLD),
            "old.key": pem(OLD_KEY),
            "root.pem": pem(ROOT),
            "root.crl": pem(CRL),
        }
        files |= {name.replace("_", "."): data for name, data in changes.items()}
        for name, data in files.items():
            if data is not None:
                (tmp_path / name).write_bytes(data)
                (tmp_path / name).chmod(0o600)
        file = tmp_path / "clb.yaml"
        file.write_text(document)
        return file

    return write


def told(inspection: Inspection, file: Path, *, warnings: bool = False) -> list[str]:
    """Faults (or warnings) without the names of directories."""
    found = inspection.warnings if warnings else inspection.faults
    return [str(fault).replace(f"{file}:", "").replace(f"{file.parent}/", "") for fault in found]


def test_everything_is_loaded(lay: Lay) -> None:
    file = lay()
    config, materials, warnings = load_all(file, now=NOW)
    assert config == load(file)
    assert set(materials.servers) == {"web", "api", "old"}
    assert materials.servers["web"].names == ("shop.example", "*.shop.example")
    assert materials.authorities["root"].certificates == (ROOT,)
    assert (
        materials.revocations == {("shop", "front"): pem(revocation_list("root", ROOT_KEY))}
        or len(materials.revocations) == 1
    )
    assert materials.admin is None
    assert warnings == materials.warnings == ()
    assert "BEGIN" not in repr(materials)


WEB_AT = "3:36: certificates.web.certificate: web.pem"
KEY_AT = "3:58: certificates.web.private_key: web.key"
# case: (changed files, faults)
FAULTS = {
    "missing": ({"web_pem": None}, [f"{WEB_AT} cannot be read: no such file or directory"]),
    "both_missing": (
        {"web_pem": None, "web_key": None},
        [f"{WEB_AT} cannot be read: no such file or directory", f"{KEY_AT} cannot be read: no such file or directory"],
    ),
    "both_damaged": (
        {"web_pem": b"x", "web_key": b"y"},
        [
            f'{at}: the file has no PEM block; a PEM file has lines such as "-----BEGIN CERTIFICATE-----" (not_pem)'
            for at in (WEB_AT, KEY_AT)
        ],
    ),
    "der": (
        {"web_pem": der(WEB)},
        [
            f"{WEB_AT}: the file is DER ({len(der(WEB))} bytes), not PEM; run: openssl x509 -inform DER -in web.pem "
            "-out web.pem.pem (a revocation list: openssl crl ...) (is_der)"
        ],
    ),
    "unknown_key": (
        {"web_key": pem(ec_key("stranger"))},
        [
            f"{KEY_AT}: the private key does not match the certificate (CN=web); "
            "use the key that the certificate was requested with (key_mismatch)"
        ],
    ),
    "key_of_another": (
        {"web_key": pem(OLD_KEY)},
        [
            f"{KEY_AT}: the private key does not match the certificate (CN=web); "
            'it is the key of certificate "old"; use the key that the certificate was requested with (key_mismatch)'
        ],
    ),
    "keys_exchanged": (
        {"web_key": pem(API_KEY), "api_key": pem(WEB_KEY)},
        [
            f"{KEY_AT}: the private key does not match the certificate (CN=web); "
            'it is the key of certificate "api"; the right key stands at certificate "api"; '
            "use the key that the certificate was requested with (key_mismatch)",
            "4:58: certificates.api.private_key: api.key: the private key does not match the certificate (CN=api); "
            'it is the key of certificate "web"; the right key stands at certificate "web"; '
            "use the key that the certificate was requested with (key_mismatch)",
        ],
    ),
    "ca_in_place_of_server": (
        {"web_pem": pem(ROOT), "web_key": pem(ROOT_KEY)},
        [
            f"{WEB_AT}: the first certificate (CN=root) is a CA; make it with: "
            "openssl req -x509 -addext basicConstraints=critical,CA:FALSE ... (leaf_is_ca)"
        ],
    ),
    "server_in_place_of_ca": (
        {"root_pem": pem(WEB)},
        [
            "6:33: certificates.root.certificate: root.pem: block 1 (line 1), CN=web, is not a CA certificate; "
            "give the certificate of the CA that issued the clients' (not_ca)"
        ],
    ),
    "ca_missing": (
        {"root_pem": None},
        ["6:33: certificates.root.certificate: root.pem cannot be read: no such file or directory"],
    ),
    "crl_missing": (
        {"root_crl": None},
        ["15:14: load_balancers[0].listeners[0].crl: root.crl cannot be read: no such file or directory"],
    ),
    "crl_of_another": (
        {"root_crl": pem(revocation_list("old", OLD_KEY))},
        [
            "15:14: load_balancers[0].listeners[0].crl: root.crl: the revocation list of CN=old is by none of the "
            "listener's CAs; give the list of the CA that ca_certificate names (bad_crl)"
        ],
    ),
}


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults_stand_at_the_key_that_names_the_file(
    lay: Lay, changes: dict[str, bytes | None], expected: list[str]
) -> None:
    file = lay(**changes)
    inspection = inspect(file, now=NOW)
    assert told(inspection, file) == expected
    assert inspection.materials is None
    with pytest.raises(ConfigErrors) as caught:
        load_all(file, now=NOW)
    assert tuple(caught.value.faults) == inspection.faults


def test_files_of_other_regions_are_only_warned_of(lay: Lay) -> None:
    file = lay(old_pem=None, old_key=b"x")
    inspection = inspect(file, now=NOW)
    assert inspection.faults == ()
    assert inspection.materials is not None
    assert set(inspection.materials.servers) == {"web", "api"}
    assert [line.partition(": ")[2].partition(":")[0] for line in told(inspection, file, warnings=True)] == [
        "certificates.old.certificate",
        "certificates.old.private_key",
    ]


def test_an_unused_certificate_must_be_sound(lay: Lay) -> None:
    file = lay(DOCUMENT.replace("certificates: [web, api]", "certificates: [web]"), api_pem=b"")
    assert told(inspect(file, now=NOW), file) == [
        "4:36: certificates.api.certificate: api.pem: the file is empty; put the PEM text into it (empty)"
    ]


def test_files_are_checked_though_the_configuration_is_broken(lay: Lay) -> None:
    file = lay(DOCUMENT.replace("ssl_mode: mutual", "ssl_mode: mutal"), api_key=b"")
    inspection = inspect(file, now=NOW)
    assert told(inspection, file) == [
        "4:58: certificates.api.private_key: api.key: the file is empty; put the PEM text into it (empty)",
        '13:19: load_balancers[0].listeners[0].ssl_mode: is "mutal"; write one_way or mutual (did you mean mutual?)',
    ]
    assert inspection.config is None


def test_what_is_no_document_is_told_alone(lay: Lay) -> None:
    file = lay("a: [")
    assert told(inspect(file), file) == ["1:5: a value is missing here"]


WARNINGS = {
    "issuer_unknown": (
        DOCUMENT.replace("  root: {", "  other: {").replace("ca_certificate: root", "ca_certificate: other"),
        {"root_pem": pem(certificate("other", ROOT_KEY, ca=True)), "root_crl": pem(revocation_list("other", ROOT_KEY))},
        NOW,
        [
            "3:36: certificates.web.certificate: web.pem: the issuer of block 1, CN=root, is not in the file; "
            "append its certificate, unless clients have it as a root (missing_intermediate)"
        ],
    ),
    "expired": (
        DOCUMENT,
        {"api_pem": pem(certificate("api", API_KEY, names=("api.example",), ends=NOW - timedelta(days=1)))},
        NOW,
        ["4:36: certificates.api.certificate: api.pem: the certificate expired on 2026-05-31; replace it (expired)"],
    ),
    "old_list": (
        DOCUMENT,
        {},
        NOW + timedelta(days=2),
        [
            "15:14: load_balancers[0].listeners[0].crl: root.crl: the revocation list of CN=root expired on "
            "2026-06-02, so all its clients will be refused; fetch a new one (expired)"
        ],
    ),
    "uncovered_domain": (
        DOCUMENT.replace("{domain: shop.example, default: true", "{domain: blog.example, default: true", 1),
        {},
        NOW,
        [
            "12:23: load_balancers[0].listeners[0].certificates: no certificate of this listener is for blog.example; "
            "browsers will warn"
        ],
    ),
}


@pytest.mark.parametrize(("document", "changes", "now", "expected"), WARNINGS.values(), ids=WARNINGS)
def test_warnings_stop_nothing(
    lay: Lay, document: str, changes: dict[str, bytes], now: object, expected: list[str]
) -> None:
    file = lay(document, **changes)
    inspection = inspect(file, now=now)  # type: ignore[arg-type]
    assert inspection.faults == ()
    assert inspection.materials is not None
    assert told(inspection, file, warnings=True) == expected


def test_a_key_that_all_can_read_is_warned_of(lay: Lay) -> None:
    file = lay()
    (file.parent / "web.key").chmod(0o644)
    assert told(inspect(file, now=NOW), file, warnings=True) == [
        "3:58: certificates.web.private_key: every user of this machine can get at web.key; run: chmod o= web.key"
    ]


COVERED = {
    "exact": ("shop.example", True),
    "wildcard": ("www.shop.example", True),
    "two_labels": ("a.b.shop.example", False),
    "same_wildcard": ('"*.shop.example"', True),
    "wider_wildcard": ('"*.example"', False),
    "regex": ("~^x$", True),
    "trailing": ("shop.*", True),
}


@pytest.mark.parametrize(("domain", "covered"), COVERED.values(), ids=COVERED)
def test_domains_that_the_certificates_are_for(lay: Lay, domain: str, covered: bool) -> None:
    file = lay(DOCUMENT.replace("{domain: shop.example", f"{{domain: {domain}", 1))
    assert (told(inspect(file, now=NOW), file, warnings=True) == []) is covered


def test_many_uncovered_domains_are_one_warning(lay: Lay) -> None:
    more = "".join(f"          - {{domain: d{n}.example, targets: []}}\n" for n in range(5))
    file = lay(DOCUMENT.replace("  - name: elsewhere", f"{more}  - name: elsewhere"))
    (warning,) = [text for text in told(inspect(file, now=NOW), file, warnings=True) if "browsers" in text]
    assert "is for d0.example, d1.example, d2.example and 2 more; browsers will warn" in warning


def test_the_certificate_of_the_management_address(lay: Lay) -> None:
    document = DOCUMENT + "admin: {tls: {certificate: api.pem, private_key: api.key}}\n"
    materials = load_all(lay(document), now=NOW)[1]
    assert materials.admin is not None
    assert materials.admin.names == ("api.example",)
    file = lay(document.replace("private_key: api.key}}", "private_key: web.key}}"))
    (fault,) = told(inspect(file, now=NOW), file)
    assert fault.startswith("25:50: admin.tls.private_key: web.key: the private key does not match")
    assert 'it is the key of certificate "web"' in fault
