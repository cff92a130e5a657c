"""nginx as the peer: one worker, streaming both ways, buffered access log.

Owns:      nginx's spelling of the site.
Elsewhere: nginx as the real server (realserver.py).
Pure:      `render`; `prepare` writes one file.
"""

from __future__ import annotations

import getpass
import os

from benchmarks import site as contract
from benchmarks.material import HOST
from benchmarks.site import Launch, Site

# Without $tcpinfo_rtt: nginx asks the kernel for it twice per line, where clb asks once per connection.
LOG_FORMAT = (
    "$request_id [$time_local] https $server_addr:$server_port $server_name $remote_addr:$remote_port "
    '$status $upstream_addr $upstream_status $proxy_host "$request" $request_length $bytes_sent "$http_host" '
    '"$http_user_agent" "$http_referer" $request_time $upstream_response_time $upstream_connect_time '
    "$upstream_header_time $connection $connection_requests $ssl_cipher $ssl_protocol "
    "$ssl_session_reused $uri $server_protocol"
)

# Streaming in both directions, as the others do it: no request body is held back until it is complete, and no
# answer goes through a file. Buffers of 64k for uploads (default 16k) and of 16k, a TLS record, for answers
# (default 4k) make both cheaper for nginx: whoever cares for large bodies sets them.
TEMPLATE = """\
daemon off;
{user}worker_processes 1;
error_log error.log warn;
pid nginx.pid;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {descriptors}; }}
http {{
    log_format bench '{log_format}';
    access_log {access_log} bench buffer=64k flush=1s;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_timeout 75s;
    keepalive_requests {keepalive_requests};
    client_max_body_size {body_bytes};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {suites};
    ssl_session_tickets on;
    upstream real {{
        server 127.0.0.1:{upstream_port};
        keepalive {idle};
        keepalive_requests {keepalive_requests};
    }}
{servers}}}
"""

SERVER = """\
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        server_name {host};
        ssl_certificate {pair.certificate};
        ssl_certificate_key {pair.private_key};
        location / {{
            proxy_pass http://real;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            client_body_buffer_size 64k;
            proxy_max_temp_file_size 0;
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_connect_timeout 4s;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Client-Proto $scheme;
            proxy_set_header X-Client-Proto-Ver $server_protocol;
            proxy_set_header X-Stgw-Time $msec;
            proxy_set_header X-Request-ID $request_id;
        }}
    }}
"""


def user_directive() -> str:
    """Started by root, a worker would become `www-data`, who may not enter the run's private directory."""
    return f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""


def render(site: Site) -> str:
    """The text of nginx.conf."""
    servers = [SERVER.format(port=port, host=HOST, pair=site.key_pairs[kind]) for kind, port in site.ports.items()]
    return TEMPLATE.format(
        user=user_directive(),
        descriptors=2 * site.connections + 200,
        log_format=LOG_FORMAT,
        access_log=site.access_log,
        keepalive_requests=contract.KEEPALIVE_REQUESTS,
        body_bytes=contract.BODY_BYTES,
        suites=":".join(contract.TLS12_SUITES),
        upstream_port=site.upstream_port,
        idle=contract.UPSTREAM_IDLE_CONNECTIONS,
        servers="".join(servers),
    )


def prepare(site: Site) -> Launch:
    """Write the configuration and say how nginx is started with it."""
    path = site.directory / "nginx.conf"
    path.write_text(render(site))
    return Launch(["nginx", "-p", str(site.directory), "-e", "error.log", "-c", str(path)])
