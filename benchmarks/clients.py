"""What all load clients have in common: the request head, and TLS settings that leave the servers no choice.

Owns:      the ten browser headers; the OpenSSL configuration that fixes version, suite and group.
Elsewhere: the clients (wrk.py, handshakes.py, idle.py).
Pure:      text in, text out, but for `tls_environment`, which writes one file.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.material import HOST

BROWSER_HEADERS = {
    "Host": HOST,
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cookie": "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=yes; _ga=GA1.2.1161127634.1718",
    "Referer": f"https://{HOST}/catalogue/shoes?sort=price&page=3",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Cache-Control": "max-age=0",
}
"""Ten, as a browser sends them; 700 bytes or so."""

TLS13_SUITE = "TLS_AES_128_GCM_SHA256"
TLS12_SUITE = {"ecdsa": "ECDHE-ECDSA-AES128-GCM-SHA256", "rsa": "ECDHE-RSA-AES128-GCM-SHA256"}

# Read by whatever links OpenSSL, wrk included, which has no options for this. The key share
# is for X25519, which all four take, so that nobody pays for a HelloRetryRequest; P-256 is named beside it
# because a TLS 1.2 server asks whether the client knows the curve of its ECDSA certificate.
OPENSSL_CONF = """\
openssl_conf = default_conf
[default_conf]
ssl_conf = ssl_section
[ssl_section]
system_default = tls_section
[tls_section]
MinProtocol = {version}
MaxProtocol = {version}
Ciphersuites = {tls13_suite}
CipherString = {tls12_suites}
Groups = X25519:P-256
"""


def request_head(method: str, path: str, extra: dict[str, str] | None = None) -> str:
    """A whole request head with the browser's headers."""
    lines = [f"{name}: {value}" for name, value in {**BROWSER_HEADERS, **(extra or {})}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])


def openssl_conf(version: str) -> str:
    """The configuration of a client of this version (`1.2` or `1.3`) only, with one suite per key type."""
    suites = ":".join(TLS12_SUITE.values())
    return OPENSSL_CONF.format(version=f"TLSv{version}", tls13_suite=TLS13_SUITE, tls12_suites=suites)


def tls_environment(directory: Path, version: str) -> dict[str, str]:
    """The environment in which a client is started."""
    path = directory / f"openssl-{version}.cnf"
    path.write_text(openssl_conf(version))
    return {"OPENSSL_CONF": str(path)}
