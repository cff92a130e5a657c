"""HAProxy as the peer: one thread, access log on standard output, which is a file.

Owns:      HAProxy's spelling of the site.
Elsewhere: what the site is (site.py).
Pure:      `render`; `prepare` writes one file.
"""

from __future__ import annotations

from benchmarks import site as contract
from benchmarks.site import Launch, Site

LOG_FORMAT = (
    '%ID [%tr] https %fi:%fp %f %ci:%cp %ST %si:%sp %b %s "%HM %HU %HV" %U %B %hr %TR %Tw %Tc %Tr %Ta '
    "%rt %rc %sslc %sslv %[ssl_fc_is_resumed] %ts %ac/%fc/%bc/%sc"
)

# `http-reuse always` is what the others do: any request may take an idle connection. HAProxy's default
# (safe) opens a new one for the first request of each client connection. It has no buffered log: one write
# per line.
TEMPLATE = """\
global
    log stdout format raw local0
    nbthread 1
    maxconn {connections}
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-bind-ciphers {suites}
defaults
    mode http
    log global
    log-format '{log_format}'
    unique-id-format %[uuid()]
    http-reuse always
    timeout connect 4s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 75s
    timeout http-request 60s
    maxconn {connections}
frontend bench
{binds}    http-request capture req.hdr(Host) len 64
    http-request capture req.hdr(User-Agent) len 128
    http-request capture req.hdr(Referer) len 128
    option forwardfor
    unique-id-header X-Request-ID
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Client-Proto https
    http-request set-header X-Client-Proto-Ver HTTP/%[req.ver]
    http-request set-header X-Stgw-Time %Ts.%ms
    default_backend real
backend real
    server one 127.0.0.1:{upstream_port} pool-max-conn {idle}
"""

BIND = "    bind 127.0.0.1:{port} ssl crt {pair.combined} alpn http/1.1 backlog 4096\n"


def render(site: Site) -> str:
    """The text of haproxy.cfg."""
    binds = [BIND.format(port=port, pair=site.key_pairs[kind]) for kind, port in site.ports.items()]
    return TEMPLATE.format(
        connections=site.connections,
        suites=":".join(contract.TLS12_SUITES),
        log_format=LOG_FORMAT,
        binds="".join(binds),
        upstream_port=site.upstream_port,
        idle=contract.UPSTREAM_IDLE_CONNECTIONS,
    )


def prepare(site: Site) -> Launch:
    """Write the configuration and say how HAProxy is started with it."""
    path = site.directory / "haproxy.cfg"
    path.write_text(render(site))
    return Launch(["haproxy", "-db", "-f", str(path)], logs_to_stdout=True)
