"""The models: defaults of the contract, and what they tell beyond their fields."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from clb.config.models import Config, Listener, LoadBalancer, Rule


def listener(**keys: object) -> Listener:
    return Listener.model_validate(keys)


def test_the_defaults_of_the_contract() -> None:
    front = listener()
    assert (front.address, front.port, front.protocol, front.tls_policy) == ("0.0.0.0", 443, "https", "documented")
    assert (front.ssl_mode, front.verify_client, front.verify_depth) == ("one_way", "required", 1)
    timeouts = front.timeouts
    assert (timeouts.handshake, timeouts.client_header, timeouts.client_body, timeouts.keepalive) == (10, 60, 60, 75)
    assert (timeouts.connect, timeouts.upstream, timeouts.send) == (4, 60, 60)
    limits = front.limits
    assert (limits.keepalive_requests, limits.header_bytes, limits.body_bytes) == (10_000, 64 * 1024, 60 * 1024**2)
    assert limits.connections == 20_000
    rule = Rule(domain="a.example")
    assert (rule.url, rule.scheduler, rule.session.expire, rule.session.cookie_name) == ("/", "wrr", 0, "CLBSESSION")
    health = rule.health_check
    assert (health.path, health.method, health.interval, health.timeout) == ("/", "HEAD", 5, 2)
    assert (health.healthy, health.unhealthy, health.codes) == (3, 3, ("2xx", "3xx", "4xx"))
    config = Config()
    assert (config.node.region, config.node.workers, str(config.node.state_dir)) == (("local",), "auto", "/var/lib/clb")
    assert (config.admin.address, config.admin.port) == ("127.0.0.1", 9443)


def test_the_nameless_get_names() -> None:
    config = Config.model_validate({"load_balancers": ({}, {"name": "x"}, {"listeners": ({"port": 8443},)})})
    assert [balancer.name for balancer in config.load_balancers] == ["lb-1", "x", "lb-3"]
    assert config.load_balancers[2].listeners[0].name == "https-8443"


def test_certificates_in_order() -> None:
    assert listener().certificate_names == ()
    assert listener(certificate="a").certificate_names == ("a",)
    assert listener(certificates=("a", "b")).certificate_names == ("a", "b")


def test_regions() -> None:
    balancers = (
        {"name": "everywhere"},
        {"name": "here", "region": "local"},
        {"name": "there", "region": "far"},
        {"name": "both", "region": ("far", "local")},
    )
    config = Config.model_validate({"load_balancers": balancers})
    assert [balancer.name for balancer in config.served] == ["everywhere", "here", "both"]
    assert [each.name for each in config.served] == [
        each.name for each in Config.model_validate({"node": {"region": "local"}, "load_balancers": balancers}).served
    ]
    both = Config.model_validate({"node": {"region": ("north", "far")}, "load_balancers": balancers})
    assert [balancer.name for balancer in both.served] == ["everywhere", "there", "both"]
    assert LoadBalancer(name="x", region=("a",)).serves(("a", "b"))


def test_nothing_changes_after_it_is_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        listener().port = 1  # type: ignore[misc]
