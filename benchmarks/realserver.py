"""The real server behind every peer: an nginx that answers from memory, on the load generator's core.

Owns:      the fixed answers of the work cases, and the page that shows what reached the real server.
Elsewhere: nginx as a peer (peers/nginx.py).
Pure:      `render`; `prepare` writes the configuration and the answers' files.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.nginx import user_directive

ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
SMALL_ANSWER = "hello from the real server: 34 by."
FILES = {"10k": 10 << 10, "1m": 1 << 20}
CHUNKS, CHUNK_BYTES = 10, 1024

# An answer of known length comes from an open file, one without from the echo module: it flushes after each
# piece, so that each is a chunk on the wire. `echo_read_request_body` takes the whole upload before the
# answer leaves.
TEMPLATE = """\
daemon off;
{user}worker_processes 1;
load_module {module};
error_log error.log warn;
pid nginx.pid;
worker_rlimit_nofile {descriptors};
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_timeout 600s;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_buffer_size 2m;
    open_file_cache max=16 inactive=600s;
    open_file_cache_valid 600s;
    sendfile on;
    tcp_nopush on;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /small {{ return 200 "{small}"; }}
        location /10k {{ root {directory}; try_files /10k.bin =404; }}
        location /1m {{ root {directory}; try_files /1m.bin =404; }}
        location /chunked {{ {chunks} }}
        location /upload {{ echo_read_request_body; echo -n taken; }}
        location /headers {{ echo $echo_client_request_headers; }}
    }}
}}
"""


def render(port: int, directory: Path, descriptors: int) -> str:
    """The text of nginx.conf."""
    piece = f"echo -n {'c' * CHUNK_BYTES}; echo_flush;"
    return TEMPLATE.format(
        user=user_directive(),
        module=ECHO_MODULE,
        descriptors=descriptors,
        port=port,
        small=SMALL_ANSWER,
        directory=directory,
        chunks=" ".join([piece] * CHUNKS),
    )


def prepare(port: int, directory: Path, descriptors: int) -> list[str]:
    """Write what the real server needs and return its command."""
    for name, size in FILES.items():
        (directory / f"{name}.bin").write_bytes(b"0123456789abcdef" * (size // 16))
    path = directory / "nginx.conf"
    path.write_text(render(port, directory, descriptors))
    return ["nginx", "-p", str(directory), "-e", "error.log", "-c", str(path)]
