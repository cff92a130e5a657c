"""An example of every answer, for the OpenAPI document: what a reader of it, or a stand-in of a node, can go by.

Owns:      the values; a test sees that each is what its model takes.
Elsewhere: the models (models.py and its neighbours); bodies have their examples beside them.
Pure:      values.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_AT: Final = "2026-11-25T10:00:00Z"
_END: Final = "2027-11-25T10:00:00Z"
_DIGEST: Final = "3f1c" * 16
_BALANCER_ID, _LISTENER_ID, _RULE_ID, _TARGET_ID = (
    "lb-h4nd3xq7w2ab", "lst-k7m2p9qxw4ab", "rule-b6t9q2xkw3cd", "tgt-f5w8r3zkx2ef",
)  # fmt: skip
_COMMON: Final = {"owner": "api", "version": 1, "created_at": _AT, "updated_at": _AT, "warnings": []}
_IN_BALANCER: Final = {"load_balancer": {"id": _BALANCER_ID, "name": "shop"}}
_IN_LISTENER: Final = {**_IN_BALANCER, "listener": {"id": _LISTENER_ID, "name": "https"}}
_IN_RULE: Final = {**_IN_LISTENER, "rule": {"id": _RULE_ID, "name": "shop.example.com /"}}

_BALANCER: Final = {
    **_COMMON,
    "id": _BALANCER_ID,
    "document": {"name": "shop", "labels": {"tenant": "acme"}},
    "name": "shop",
    "region": None,
    "served_here": True,
    "listeners": 1,
}
_LISTENER: Final = {
    **_COMMON,
    **_IN_BALANCER,
    "id": _LISTENER_ID,
    "document": {"name": "https", "certificate": "shop-2027"},
    "name": "https",
    "address": "0.0.0.0",  # noqa: S104 - the default of the configuration
    "port": 443,
    "protocol": "https",
    "rules": 1,
    "not_served_because": None,
}
_RULE: Final = {
    **_COMMON,
    **_IN_LISTENER,
    "id": _RULE_ID,
    "document": {"domain": "shop.example.com", "default": True},
    "domain": "shop.example.com",
    "url": "/",
    "default": True,
    "targets": 2,
}
_TARGET: Final = {
    **_COMMON,
    **_IN_RULE,
    "id": _TARGET_ID,
    "document": {"address": "10.0.0.5", "port": 8080},
    "address": "10.0.0.5",
    "port": 8080,
    "weight": 10,
    "draining": False,
    "overridden": False,
    "health": "healthy",
    "health_since": _AT,
    "requests_in_flight": 3,
}
_CERTIFICATE: Final = {
    "id": "cert-k7m2p9qxw4ab",
    "name": "shop-2027",
    "type": "server",
    "owner": "api",
    "state": "active",
    "subject": "CN=shop.example.com",
    "issuer": "CN=Example CA",
    "names": ["shop.example.com"],
    "key": "ECDSA P-256",
    "fingerprint": _DIGEST,
    "not_before": _AT,
    "not_after": _END,
    "days_left": 365,
    "used_by": 1,
    "generation": 1,
    "version": 1,
    "created_at": _AT,
    "updated_at": _AT,
}
_USE: Final = {
    "load_balancer": "shop",
    "load_balancer_id": _BALANCER_ID,
    "listener": "https",
    "listener_id": _LISTENER_ID,
    "purpose": "certificate",
    "owner": "api",
    "region": None,
    "served_here": True,
}
_FIGURES: Final = {
    "billed_in": 79, "billed_out": 40, "handshake_in": 597, "handshake_out": 1524, "overhead_in": 46,
    "overhead_out": 46, "wire_in": 722, "wire_out": 1610, "unsent_out": 0, "residual_in": 0, "residual_out": 0,
    "connections": 1, "connections_open_peak": 1, "handshakes_full": 1, "handshakes_resumed": 0, "handshakes_failed": 0,
    "requests": {"2xx": 1}, "rule_evaluations": 1, "defects": 0,
}  # fmt: skip
_LINK: Final = {
    "node": "clb-1", "sequence": 7, "start": _AT, "rows": 2, "digest": _DIGEST, "chain": _DIGEST, "residual_in": 0,
    "residual_out": 0, "defects": 0, "key_id": "k1-0123456789abcdef", "public_key": _DIGEST, "signature": _DIGEST * 2,
}  # fmt: skip
_PLAN_ENTRY: Final = {"kind": "in_place", "where": "shop/https", "what": "a target more"}
_TOKEN: Final = {
    "id": "tok-k7m2p9qxw4ab", "name": "deploy", "role": "operator", "state": "active", "created_at": _AT,
    "created_by": "uid:0 (control socket)", "expires_at": None, "revoked_at": None, "last_used_at": None, "version": 1,
}  # fmt: skip

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "Health": {"status": "ok"},
        "Readiness": {"ready": True, "reasons": [], "notes": []},
        "ErrorAnswer": {
            "type": "urn:clb:problem:invalid_object",
            "title": "Invalid object",
            "status": 422,
            "detail": "nothing was changed: port: is 0; write a whole number from 1 to 65535",
            "instance": "urn:clb:request:req-k7m2p9qxw4ab",
            "code": "invalid_object",
            "errors": [{"where": "", "key": "port", "message": "is 0; write a whole number from 1 to 65535"}],
        },
        "Status": {
            "node": {
                "name": "clb-1", "region": "local", "clb_version": "0.4.0", "config_version": 3, "started_at": _AT,
                "ready": True, "not_ready_because": [], "draining": False, "workers_ready": 2, "workers_wanted": 2,
            },
            "management": {"address": "127.0.0.1", "port": 9443, "tls": None, "tokens": 1},
            "processes": [{"role": "worker", "slot": 0, "pid": 4711, "state": "ready", "since": _AT}],
            "last_reload": None,
            "rates": {"requests_per_s": 120.5},
            "certificates": [],
            "listeners": [],
            "draining": [],
            "last_event": 17,
        },
        "Events": {
            "events": [
                {
                    "number": 17, "at": _AT, "kind": "target_unhealthy", "subject": "10.0.0.5:8080",
                    "cause": "3 checks failed", "details": {},
                }
            ],
            "last_event": 17,
            "missed": False,
        },
        "ReloadAnswer": {"done": True, "config_version": 4, "changes": [_PLAN_ENTRY], "warnings": []},
        "Plan": {"dry_run": True, "changes": [_PLAN_ENTRY]},
        "Explanation": {
            "listener": {
                "load_balancer": "shop", "listener": "https", "address": "10.0.0.2", "port": 443,
                "protocol": "https", "why": "https on port 443, at 10.0.0.2", "others": [],
            },
            "verdict": {"outcome": "forwarded", "status": None, "text": "forwarded to 10.0.0.5:8080"},
        },
        "TokenPage": {"tokens": [_TOKEN], "next": None},
        "LoadBalancerAnswer": _BALANCER,
        "LoadBalancerList": {"next": None, "load_balancers": [_BALANCER]},
        "ListenerAnswer": _LISTENER,
        "ListenerList": {"next": None, "listeners": [_LISTENER]},
        "RuleAnswer": _RULE,
        "RuleList": {"next": None, "rules": [_RULE]},
        "TargetAnswer": _TARGET,
        "TargetList": {"next": None, "targets": [_TARGET]},
        "TargetsWritten": {
            "rule": {"id": _RULE_ID, "name": "shop.example.com /"},
            "registered": [{"id": _TARGET_ID, "name": "10.0.0.5:8080"}],
            "changed": [],
            "deregistered": [],
            "unchanged": 1,
        },
        "HealthList": {
            "next": None,
            "counts": {"healthy": 1},
            "targets": [
                {
                    "id": _TARGET_ID, "target": "10.0.0.5:8080", "state": "healthy", "since": _AT,
                    "where": "load balancer shop, listener https, rule shop.example.com /", "why": "3 checks passed",
                    "draining": False,
                }
            ],
        },
        "Usage": {
            "begin": "2026-11-01T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
            "by": ["tenant", "listener"],
            "groups": [{**_FIGURES, "tenant": "acme", "listener": "shop/https"}],
            "total": _FIGURES,
            "explanation": "2,332 bytes crossed the wire and 119 are billed.",
            "closed_until": _AT,
            "next": None,
        },
        "Heads": {"heads": [_LINK]},
        "Verification": {"ok": True, "hours": 7, "signed": 7, "pruned": 0, "breaks": [], "heads": [_LINK]},
        "CertificateList": {"certificates": [_CERTIFICATE], "next": None},
        "CertificateDetail": {**_CERTIFICATE, "certificate": "-----BEGIN CERTIFICATE-----\n...", "uses": [_USE]},
        "CertificateWritten": {"certificate": _CERTIFICATE, "warnings": [], "swapped": [_USE], "broken": []},
        "CheckAnswer": {"ok": True, "errors": [], "warnings": [], "names": ["shop.example.com"]},
        "Uses": {"uses": [_USE]},
        "KeyringAnswer": {
            "loaded": True,
            "keys": [{"id": "k1-0123456789abcdef", "current": True, "present": True, "sealed": 12}],
        },
        "RewrapAnswer": {"current": "k1-0123456789abcdef", "moved": 12, "left": []},
    }
)  # fmt: skip
"""By the name of the schema."""
