"""The metrics by name: type, labels and what is told of each.

Owns:      the list, which docs/admin.md repeats (a test holds the two together).
Elsewhere: their values (metrics.py).
Pure:      plain values; imports nothing of Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "summary"]


@dataclass(frozen=True, slots=True)
class MetricName:
    """One metric."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_LISTENER = ("load_balancer", "listener")
_RULE = (*_LISTENER, "rule")
_TARGET = (*_RULE, "target")


def _counter(text: str, *labels: str) -> MetricName:
    return MetricName("counter", text, labels)


def _gauge(text: str, *labels: str) -> MetricName:
    return MetricName("gauge", text, labels)


METRICS: dict[str, MetricName] = {
    # The node.
    "clb_build_info": _gauge("Always 1; the labels say what runs.", "version", "python", "openssl"),
    "clb_ready": _gauge("1 while /readyz says yes."),
    "clb_draining": _gauge("1 while the node takes no new work."),
    "clb_start_time_seconds": _gauge("When the control process started, in seconds since the epoch."),
    "clb_config_version": _gauge("Counts up with every configuration that was taken into service."),
    "clb_workers": _gauge("Worker processes: those there should be, and those that accept.", "state"),
    "clb_worker_restarts_total": _counter("Workers that ended unasked and were started again."),
    "clb_reloads_total": _counter("Changes of the configuration that were taken into service, or refused.", "result"),
    "clb_event_loop_lag_seconds": _gauge("How late the process's loop comes to what is due.", "process"),
    "clb_process_cpu_seconds_total": _counter("CPU time of the process, user and system.", "process"),
    "clb_process_resident_bytes": _gauge("Memory that the process holds; shared pages count in each.", "process"),
    "clb_process_open_descriptors": _gauge("Open descriptors of the process.", "process"),
    # The store.
    "clb_store_up": _gauge("1 while the store of the management API answers; traffic goes on without it."),
    "clb_store_in_service": _gauge("1 while what the store is known to have is what this node serves."),
    "clb_store_revision": _gauge("Revision of the store as of the last write or look."),
    # Certificates.
    "clb_certificate_expiry_seconds": _gauge(
        "Time until the certificate expires; negative once it has.", "certificate", "domain"
    ),
    "clb_certificate_expiry_timestamp_seconds": _gauge(
        "When the certificate expires, in seconds since the epoch.", "certificate", "domain"
    ),
    "clb_certificate_info": _gauge(
        "Always 1; names and listeners of the certificate.", "certificate", "key_type", "domains", "listeners"
    ),
    "clb_certificate_notices_total": _counter(
        "Notices of certificates that expire, by days before the end; 0: one that has expired.", "days"
    ),
    "clb_webhook_deliveries_total": _counter("Notices to the webhook: delivered, failed or dropped.", "result"),
    # Listeners.
    "clb_open_connections": _gauge("Connections of clients that are open.", *_LISTENER),
    "clb_connections_total": _counter("Connections of clients that were accepted.", *_LISTENER),
    "clb_handshakes_total": _counter(
        "TLS handshakes by result (full, resumed, failed); for failures the reason.", *_LISTENER, "result", "reason"
    ),
    "clb_requests_total": _counter("Requests by class of the answer's status.", *_LISTENER, "code"),
    "clb_requests_in_flight": _gauge("Requests that are under way.", *_LISTENER),
    "clb_requests_queued": _gauge("Requests that wait for their turn.", *_LISTENER),
    "clb_refused_total": _counter("Connections and requests that clb turned away, by reason.", *_LISTENER, "reason"),
    "clb_wire_bytes_total": _counter(
        "Bytes of clients' TCP streams: from them in, to them out, as written.", *_LISTENER, "direction"
    ),
    "clb_traffic_bytes_total": _counter(
        "The same bytes by class: handshake, billed, overhead. Open connections add the first and last at their end.",
        *_LISTENER,
        "class",
        "direction",
    ),
    "clb_unsent_bytes_total": _counter("Bytes written and never acknowledged: of no use to the client.", *_LISTENER),
    "clb_unpaid_bytes_total": _counter(
        "Bytes from clients by what they came to, counted in their class as well: PROXY headers, plain HTTP to a TLS "
        "port, handshakes that never were finished.",
        *_LISTENER,
        "kind",
    ),
    "clb_ledger_defects_total": _counter("Connections whose bytes did not add up at their end: a defect.", *_LISTENER),
    # Rules.
    "clb_rule_requests_total": _counter("Requests of the rule by class of the answer's status.", *_RULE, "code"),
    "clb_rule_billed_bytes_total": _counter("HTTP bytes of the rule, as written.", *_RULE, "direction"),
    "clb_rule_all_unavailable": _gauge("1 while every target of the rule is out of service.", *_RULE),
    # Targets.
    "clb_target_requests_total": _counter(
        "Requests that the target answered, by class of its status; none: it gave no answer.", *_TARGET, "code"
    ),
    "clb_target_failures_total": _counter(
        "What went wrong with the target, by reason; the request may have been answered by another.", *_TARGET, "reason"
    ),
    "clb_target_retries_total": _counter("Requests sent to the target after another had failed.", *_TARGET),
    "clb_target_connections_total": _counter("Connections made to the target.", *_TARGET),
    "clb_target_response_seconds": MetricName(
        "summary", "Time from sending requests to the heads of answers: how many, and their sum.", _TARGET
    ),
    "clb_target_latency_seconds": _gauge("Moving average of that time, the mean of the workers'.", *_TARGET),
    "clb_target_in_flight": _gauge("Requests that the target is busy with.", *_TARGET),
    "clb_target_pending": _gauge("Requests that wait for a connection to the target.", *_TARGET),
    "clb_target_open_connections": _gauge("Connections to the target.", *_TARGET),
    "clb_target_weight": _gauge("Configured weight.", *_TARGET),
    "clb_target_up": _gauge("1 while the target is offered new work.", *_TARGET),
    "clb_target_state": _gauge("0 unchecked, 1 checking, 2 healthy, 3 unhealthy, 4 ejected, 5 provisional.", *_TARGET),
    "clb_target_ejections_total": _counter("How often real requests put the target out of service.", *_TARGET),
}
