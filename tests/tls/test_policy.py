import ssl

import pytest

from clb.tls.policy import DOCUMENTED_CIPHERS, POLICIES

# Copied by hand from the FAQ, in one piece.
FAQ = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-CHACHA20-POLY1305:kEDH+AESGCM:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128:AES256:AES:HIGH:!aNULL:!eNULL:!EXPORT:!DES:!RC4:!MD5:!PSK"  # noqa: E501


def test_documented_string_is_the_faqs():
    assert DOCUMENTED_CIPHERS == FAQ
    assert POLICIES["documented"].cipher_string == FAQ


def test_only_documented_lowers_the_security_level():
    assert POLICIES["documented"].openssl_cipher_string == FAQ + ":@SECLEVEL=0"
    for name in ("intermediate", "modern"):
        assert "SECLEVEL" not in POLICIES[name].openssl_cipher_string


@pytest.mark.parametrize(("name", "suites"), [("documented", 80), ("intermediate", 12), ("modern", 12)])
def test_number_of_suites(name, suites):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(POLICIES[name].openssl_cipher_string)
    assert len(context.get_ciphers()) == suites


def test_key_is_the_name():
    assert [policy.name for policy in POLICIES.values()] == list(POLICIES)
