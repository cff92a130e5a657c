"""Answer what would become of a request, step by step as the data path takes it.

Owns:      the order of the steps, and where an answer ends.
Elsewhere: every decision: it is asked of the code that decides for real requests (tls/server_names.py, http1/,
           routing/, balancing/). Candidates and the choice among them: explained_targets.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from clb.config.models import Listener, LoadBalancer, Rule
from clb.control.explained_limits import listener_lets_in, listener_limits, rule_lets_in, rule_limits
from clb.control.explained_targets import explain_targets
from clb.control.explanation_models import (
    BeatenRule,
    CertificateChoice,
    Explanation,
    ListenerChoice,
    Question,
    RedirectAnswer,
    RouteChoice,
    TlsTerms,
    Verdict,
)
from clb.control.node import Node, listeners
from clb.errors import AccessDenied, BadHost, BadRequest, TargetTooLong
from clb.http1.request import RequestHead, read_request_head
from clb.http1.target import split_host, split_target
from clb.metering.cells import rule_key
from clb.routing.explanation import RouteExplanation, explain_route
from clb.routing.path import normalise_path
from clb.routing.redirect import redirect_location, slash_location
from clb.routing.router import RouteSpec
from clb.tls.policy import POLICIES
from clb.tls.server_names import default_group, group_by_name, name_table

_PORTS = {"https": 443, "http": 80}
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class ExplainFault(Exception):
    """The question has no answer here."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    authority: bytes
    host: str
    """As a Host field has it: an IPv6 address stands in brackets."""
    port: int
    path_and_query: bytes

    @property
    def address(self) -> str | None:
        """The host, if it is an address."""
        try:
            return str(ip_address(self.host.strip("[]")))
        except ValueError:
            return None


def explain(node: Node, question: Question) -> Explanation:
    """Follow the request.

    Raises:
        ExplainFault: the URL is none, or leads to no listener of this node.
    """
    url = _read_url(question)
    node = node.view()
    balancer, listener, choice = _choose_listener(node, url, question.listener)
    certificate = _choose_certificate(node, listener, url) if listener.protocol == "https" else None
    so_far = Explanation(
        listener=choice,
        certificate=certificate,
        tls=_tls_terms(listener) if listener.protocol == "https" else None,
        limits=listener_limits(listener),
        verdict=Verdict(outcome="refused", status=None, text=""),
    )
    if not listener_lets_in(listener, question.client):
        text = f"the connection is reset: the listener's access does not let {question.client} in"
        return _with(so_far, Verdict(outcome="refused", status=None, text=text))
    try:
        head = _read_head(question, url, listener)
        path = b"/" if head.path == b"*" else normalise_path(head.path)
    except BadRequest as error:
        return _with(so_far, Verdict(outcome="refused", status=error.client_status, text=f"{error.reason}: {error}"))
    return _follow(node, question, so_far, balancer, listener, head, path)


def _follow(
    node: Node,
    question: Question,
    so_far: Explanation,
    balancer: LoadBalancer,
    listener: Listener,
    head: RequestHead,
    path: bytes,
) -> Explanation:
    specs = [RouteSpec(rule.domain, rule.url, rule, rule.default) for rule in listener.rules]
    routed = explain_route(specs, head.host, path)
    so_far = so_far.model_copy(update={"route": _route(routed, head, path)})
    if routed.slash is not None:
        location = slash_location(*_client_side(listener, head), routed.slash.path, head.target[len(head.path) :])
        return _redirected(so_far, 301, location, "the prefix rule ends in a slash and the path lacks it")
    if routed.rule is None:
        return _with(so_far, Verdict(outcome="not_found", status=404, text=f"404: {routed.why}"))
    rule = routed.rule.value
    if not rule_lets_in(rule, listener, head, question.client):
        error = AccessDenied("the rule's access does not let the client in")
        return _with(so_far, Verdict(outcome="refused", status=error.client_status, text=f"{error.reason}: {error}"))
    if rule.redirect is not None:
        return _redirect(so_far, rule, listener, head)
    key = rule_key(balancer.name, listener.name, rule.domain, rule.url)
    candidates, target, verdict = explain_targets(node, key, rule, listener, head, question)
    limits = [*so_far.limits, *rule_limits(rule)]
    return so_far.model_copy(update={"candidates": candidates, "choice": target, "verdict": verdict, "limits": limits})


# --- the question ---


def _read_url(question: Question) -> _Url:
    scheme, separator, _ = question.url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        raise ExplainFault("bad_url", "write the whole URL, such as https://shop.example.com/path")
    try:
        _, path_and_query, authority = split_target(b"GET", question.url.encode("ascii"))
        assert authority is not None, "the URL is in absolute form"
        host, port = split_host(authority)
    except UnicodeEncodeError:
        raise ExplainFault(
            "bad_url", "write the URL as a client sends it: other than ASCII is percent-encoded"
        ) from None
    except BadRequest as error:
        raise ExplainFault("bad_url", str(error)) from error
    return _Url(scheme, authority, host.decode("ascii"), port or _PORTS[scheme], path_and_query)


def _read_head(question: Question, url: _Url, listener: Listener) -> RequestHead:
    """The head that such a client sends, read as the data path reads it."""
    hosts = [value for name, value in question.headers if name.lower() == "host"]
    lines = [f"Host: {host}" for host in hosts] or [f"Host: {url.authority.decode('ascii')}"]
    lines += [f"{name}: {value}" for name, value in question.headers if name.lower() != "host"]
    if len(url.path_and_query) > listener.limits.uri_bytes:
        raise TargetTooLong(f"{len(url.path_and_query)} bytes, at most {listener.limits.uri_bytes} allowed")
    start = b"%b %b HTTP/1.1\r\n" % (question.method.encode("ascii"), url.path_and_query)
    text = "\r\n".join(lines)
    if "\r" in text.replace("\r\n", "") or text.count("\n") != len(lines) - 1:
        raise BadHost("a header with a line break")
    head = start + text.encode("latin-1", "replace") + b"\r\n\r\n"
    return read_request_head(head, listener.limits.headers)


# --- listener and certificate ---


def _choose_listener(node: Node, url: _Url, wanted: str | None) -> tuple[LoadBalancer, Listener, ListenerChoice]:
    served = [(key, balancer, listener) for key, balancer, listener in listeners(node.outline)]
    if wanted is not None:
        found = [each for each in served if wanted in (each[0], each[2].name)]
        why = "the one asked for"
    else:
        found = [each for each in served if each[2].protocol == url.scheme and each[2].port == url.port]
        why = f"{url.scheme} on port {url.port}"
        if url.address is not None:
            exact = [each for each in found if each[2].address == url.address]
            found = exact or [each for each in found if each[2].address in _ANY]
            why += f", at {url.address}" if exact else ", at any address"
    if not found:
        there = ", ".join(f"{key} ({each.protocol} {each.port})" for key, _, each in served[:20]) or "none"
        raise ExplainFault("no_listener", f"no listener for this URL; this node serves: {there}")
    _, balancer, listener = found[0]
    choice = ListenerChoice(
        load_balancer=balancer.name,
        listener=listener.name,
        address=listener.address,
        port=listener.port,
        protocol=listener.protocol,
        why=why,
        others=[f"{key} at {each.address}" for key, _, each in found[1:]],
    )
    return balancer, listener, choice


@dataclass(frozen=True, slots=True)
class _Shown:
    """A certificate, as the choice sees it."""

    certificate: str
    names: tuple[str, ...]
    key_type: str


def _choose_certificate(node: Node, listener: Listener, url: _Url) -> CertificateChoice | None:
    facts = node.outline.certificates
    shown = [
        _Shown(name, facts[name].names, facts[name].key_type) for name in listener.certificate_names if name in facts
    ]
    if not shown:
        return None
    groups = group_by_name(shown)
    default = default_group(shown, groups)
    table = name_table(groups, {group: group for group in (*groups.values(), default)}, default)
    server_name = url.host if url.address is None else None
    found = table.find(server_name) if server_name is not None else None
    if server_name is None:
        why = "no server name is sent for an address, so the listener's first certificate serves"
    elif found is None:
        why = f"no certificate of the listener is for {server_name}, so its first one serves"
    else:
        is_exact = server_name.removesuffix(".") in table.exact
        why = f"it names {server_name}" if is_exact else "its wildcard covers the name"
    group = found or default
    return CertificateChoice(
        certificates=[each.certificate for each in group],
        server_name=server_name,
        names=list(group[0].names),
        not_after=min(facts[each.certificate].not_after for each in group),
        why=why,
        covers_host=found is not None or url.address in group[0].names,
    )


def _tls_terms(listener: Listener) -> TlsTerms:
    policy = POLICIES[listener.tls_policy]
    client = "not asked for"
    if listener.ssl_mode == "mutual":
        client = f"{listener.verify_client}, signed by {listener.ca_certificate}"
        client += ", checked against the revocation list" if listener.crl else ""
    versions = f"{_version(policy.minimum.name)} to {_version(policy.maximum.name)}"
    return TlsTerms(policy=listener.tls_policy, versions=versions, client_certificate=client)


def _version(name: str) -> str:
    """`TLSv1_2` as people write it."""
    return {"MINIMUM_SUPPORTED": "TLSv1", "MAXIMUM_SUPPORTED": "TLSv1.3"}.get(name, name.replace("_", "."))


# --- route, redirects ---


def _route(routed: RouteExplanation[Rule], head: RequestHead, path: bytes) -> RouteChoice:
    return RouteChoice(
        host=head.host.decode("ascii"),
        path=path.decode("ascii"),
        domain=routed.rule.domain if routed.rule is not None else None,
        url=routed.rule.url if routed.rule is not None else None,
        why=routed.why,
        beaten=[BeatenRule(domain=b.rule.domain, url=b.rule.url, why=b.why) for b in routed.beaten],
    )


def _client_side(listener: Listener, head: RequestHead) -> tuple[bytes, bytes, int | None]:
    """Scheme, host and port as the client sees them, for a Location."""
    port = split_host(head.host_field)[1] if head.host_field else None
    return listener.protocol.encode("ascii"), head.host, port


def _redirect(so_far: Explanation, rule: Rule, listener: Listener, head: RequestHead) -> Explanation:
    assert rule.redirect is not None
    location = redirect_location(rule.redirect, *_client_side(listener, head), head.target)
    if location is None:
        text = "404: the rule redirects to the very URL that was asked for, which would never end"
        return _with(so_far, Verdict(outcome="not_found", status=404, text=text))
    return _redirected(so_far, rule.redirect.status, location, "the rule says so")


def _redirected(so_far: Explanation, status: int, location: bytes, why: str) -> Explanation:
    where = location.decode("ascii")
    answer = RedirectAnswer(status=status, location=where, why=why)
    verdict = Verdict(outcome="redirected", status=status, text=f"{status} to {where}")
    return so_far.model_copy(update={"redirect": answer, "verdict": verdict})


def _with(so_far: Explanation, verdict: Verdict) -> Explanation:
    return so_far.model_copy(update={"verdict": verdict})
