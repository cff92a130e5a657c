"""Must hold 2: Python's httpx, which keeps its connection."""

from __future__ import annotations

import ssl
import warnings

import httpx
import pytest
from clients_site import NAME, Site

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def _context(site: Site, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=site.ca)
    context.minimum_version = context.maximum_version = version
    return context


def _client(site: Site, listener: str, context: ssl.SSLContext) -> httpx.Client:
    """The name of the certificate in Host and SNI, this machine as the address."""
    base_url = f"https://127.0.0.1:{site.ports[listener]}"
    return httpx.Client(verify=context, base_url=base_url, headers={"Host": NAME}, trust_env=False)


SNI = {"sni_hostname": NAME}


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("listener", ["rsa", "ecdsa"])
def test_many_requests_on_one_connection(site: Site, listener: str, version: ssl.TLSVersion) -> None:
    with _client(site, listener, _context(site, version)) as client:
        ids = set()
        for _ in range(20):
            answer = client.get("/", extensions=SNI)
            assert answer.status_code == 200
            ids.add(answer.json()["X-Request-ID"])
        assert len(ids) == 20
        assert client.post("/", content=bytes(1 << 20), extensions=SNI).text == f"{1 << 20} bytes"


def test_oldest_version(site: Site) -> None:
    with warnings.catch_warnings():  # the old version is named on purpose
        warnings.simplefilter("ignore", DeprecationWarning)
        context = _context(site, ssl.TLSVersion.TLSv1)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with _client(site, "ecdsa", context) as client:
        assert client.get("/", extensions=SNI).status_code == 200


def test_mutual(site: Site) -> None:
    context = _context(site, ssl.TLSVersion.TLSv1_3)
    context.load_cert_chain(*site.pair("client"))
    with _client(site, "required", context) as client:
        assert client.get("/", extensions=SNI).json()["X-SSL-Client-Subject"] == "CN=client"


def test_revoked(site: Site) -> None:
    context = _context(site, ssl.TLSVersion.TLSv1_3)
    context.load_cert_chain(*site.pair("revoked"))
    with _client(site, "required", context) as client, pytest.raises(httpx.TransportError, match="alert"):
        client.get("/", extensions=SNI)
