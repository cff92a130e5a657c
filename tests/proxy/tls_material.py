"""Keys and certificates for tests of the running proxy, and TLS contexts of its clients."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

HOST = "shop.example.com"


class TlsMaterial:
    """A server certificate for HOST, a CA for clients and one client certificate, as files and as contexts."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self._clients_authority = trustme.CA(organization_name="Partners")
        server = self._authority.issue_cert(HOST, "*.example.com")
        self.client = self._clients_authority.issue_cert("alice@partner.example")
        self.weak_client = self._clients_authority.issue_cert("bob@partner.example", key_type=trustme.KeyType.RSA)
        self.certificate, self.private_key = directory / "web.pem", directory / "web.key"
        server.cert_chain_pems[0].write_to_path(self.certificate)
        server.private_key_pem.write_to_path(self.private_key)
        renewed = self._authority.issue_cert(HOST, "*.example.com", key_type=trustme.KeyType.RSA)
        self.renewed_certificate, self.renewed_key = directory / "renewed.pem", directory / "renewed.key"
        renewed.cert_chain_pems[0].write_to_path(self.renewed_certificate)
        renewed.private_key_pem.write_to_path(self.renewed_key)
        self.authority = directory / "authority.pem"
        """What clients trust, for those that are programs of their own."""
        self._authority.cert_pem.write_to_path(self.authority)
        self.clients_ca = directory / "clients-ca.pem"
        self._clients_authority.cert_pem.write_to_path(self.clients_ca)

    def client_context(
        self,
        *,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        with_certificate: bool = False,
        with_weak_certificate: bool = False,
    ) -> ssl.SSLContext:
        """A client's side that trusts the server's CA and speaks exactly one version."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        context.minimum_version = context.maximum_version = version
        if with_certificate:
            self.client.configure_cert(context)
        if with_weak_certificate:
            self.weak_client.configure_cert(context)
        return context
