"""The plan of a change: nothing is missed, and each change is of the kind that the service acts on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from clb.config.diff import plan
from clb.config.loader import load
from clb.config.models import Certificate, Config, Listener, LoadBalancer, Node, Rule, Target
from clb.config.plan import Contents, Entry, Kind, Plan

FULL = load(Path(__file__).parents[2] / "config" / "full.yaml")


def other(value: Any) -> Any:
    """Some other value than this; nobody validates it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, SecretStr):
        return SecretStr("another")
    if isinstance(value, Path):
        return value / "other"
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, tuple):
        return value[1:] if value else ("x",)
    if isinstance(value, dict):
        return {} if value else {"k": "v"}
    return "x" if value is None else None


def variants(model: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    """The model with each of its fields changed, at every depth."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        here = f"{path}.{name}" if path else name
        if name not in ("listeners", "load_balancers", "rules", "targets") and not isinstance(value, BaseModel):
            yield here, model.model_copy(update={name: other(value)})
        nested: list[tuple[str, Any, Callable[[Any], Any]]] = []
        if isinstance(value, BaseModel):
            nested = [(here, value, lambda inner: inner)]
        elif isinstance(value, tuple):
            nested = [(f"{here}[{i}]", item, _in_tuple(value, i)) for i, item in enumerate(value)]
        elif isinstance(value, dict):
            nested = [(f"{here}.{key}", item, _in_dict(value, key)) for key, item in value.items()]
        for place, item, wrap in nested:
            if isinstance(item, BaseModel):
                for inner_place, inner in variants(item, place):
                    yield inner_place, model.model_copy(update={name: wrap(inner)})


def _in_tuple(items: tuple[Any, ...], index: int) -> Callable[[Any], Any]:
    return lambda inner: (*items[:index], inner, *items[index + 1 :])


def _in_dict(items: dict[str, Any], key: str) -> Callable[[Any], Any]:
    return lambda inner: {**items, key: inner}


VARIANTS = dict(variants(FULL))


@pytest.mark.parametrize("changed", VARIANTS.values(), ids=VARIANTS)
def test_every_field_has_its_entry(changed: Config) -> None:
    assert plan(FULL, changed), "nobody would be told"
    assert plan(changed, FULL)


def test_the_walk_reaches_every_model() -> None:
    assert len(VARIANTS) > 150
    assert {"node.access_log.format", "load_balancers[0].listeners[0].rules[0].retry.budget"} <= VARIANTS.keys()


@pytest.mark.parametrize("config", [Config(), FULL], ids=["empty", "full"])
def test_nothing_changes_between_equals(config: Config) -> None:
    assert not plan(config, config.model_copy(deep=True))


def test_a_secret_is_not_shown() -> None:
    changed = VARIANTS["notify.secret"]
    (entry,) = plan(FULL, changed).entries
    assert entry == Entry(Kind.IN_PLACE, "notify.secret", "(secret) -> (secret)")


# --- one change, one entry ---


def site(*listeners: Listener, **keys: Any) -> Config:
    return Config(load_balancers=(LoadBalancer(name="shop", listeners=listeners),), **keys)


def https(*rules: Rule, **keys: Any) -> Listener:
    return Listener(**{"name": "https", "certificate": "web", "rules": rules, **keys})


def rule(*targets: Target, domain: str = "a.example.com", **keys: Any) -> Rule:
    return Rule(domain=domain, targets=targets, **keys)


def target(port: int, **keys: Any) -> Target:
    return Target(address="10.0.0.5", port=port, **keys)


RULE = "shop/https rule a.example.com/"
CHANGES: dict[str, tuple[Config, Config, list[str]]] = {
    "workers": (
        Config(),
        Config(node=Node(workers=3)),
        ["workers             node.workers: auto -> 3"],
    ),
    "state_dir": (
        Config(),
        Config(node=Node(state_dir=Path("/srv/clb"))),
        ["needs a restart     node.state_dir: /var/lib/clb -> /srv/clb"],
    ),
    "drain_timeout": (
        Config(),
        Config(node=Node(drain_timeout="90s")),
        ["in place            node.drain_timeout: 30s -> 90s"],
    ),
    "admin": (
        Config(),
        Config.model_validate({"admin": {"port": 9444}}),
        ["management restarts admin.port: 9443 -> 9444"],
    ),
    "new_listener": (
        site(),
        site(https(rule(target(1)))),
        ["new listener        shop/https: 0.0.0.0:443 (https), 1 rule"],
    ),
    "removed_listener": (
        site(https(address="::")),
        site(),
        ["listener removed    shop/https: [::]:443 is closed; running requests have 30s to finish"],
    ),
    "protocol": (
        site(https()),
        site(Listener(name="https", protocol="http")),
        [
            "listener removed    shop/https: protocol https -> http: a new listener takes the socket over; "
            "running requests have 30s to finish",
            "new listener        shop/https: 0.0.0.0:443 (http)",
            "in place            shop/https certificate: web -> none",
        ],
    ),
    "port": (
        site(https()),
        site(https(port=8443)),
        ["new sockets         shop/https port: 443 -> 8443"],
    ),
    "policy": (
        site(https()),
        site(https(tls_policy="modern")),
        ["fresh TLS sessions  shop/https tls_policy: documented -> modern"],
    ),
    "checks_of_nobody": (
        site(https()),
        site(https(verify_depth=3)),
        ["in place            shop/https verify_depth: 1 -> 3"],
    ),
    "checks_of_clients": (
        site(https(ssl_mode="mutual")),
        site(https(ssl_mode="mutual", verify_depth=3)),
        ["fresh TLS sessions  shop/https verify_depth: 1 -> 3"],
    ),
    "timeout_and_limit": (
        site(https()),
        site(https(timeouts={"connect": "500ms"}, limits={"body_bytes": "1GiB"})),
        [
            "in place            shop/https timeouts.connect: 4s -> 500ms",
            "in place            shop/https limits.body_bytes: 60MiB -> 1GiB",
        ],
    ),
    "listeners_change_places": (
        site(https(), https(name="b", port=444)),
        site(https(name="b", port=444), https()),
        ["in place            shop listeners: another order"],
    ),
    "rule_added": (
        site(https()),
        site(https(rule(target(1), target(2)))),
        [f"in place            {RULE}: added, 2 targets"],
    ),
    "rule_removed": (
        site(https(rule(target(1)))),
        site(https()),
        [f"drained             {RULE}: removed, 1 target; running requests have 30s to finish"],
    ),
    "redirect_removed": (
        site(https(rule(redirect={"scheme": "https"}))),
        site(https()),
        [f"drained             {RULE}: removed, a redirect"],
    ),
    "rules_change_places": (
        site(https(rule(), rule(domain="b.example.com"))),
        site(https(rule(domain="b.example.com"), rule())),
        ["in place            shop/https rules: another order"],
    ),
    "scheduler": (
        site(https(rule())),
        site(https(rule(scheduler="ip_hash"))),
        [f"in place            {RULE} scheduler: wrr -> ip_hash"],
    ),
    "weight": (
        site(https(rule(target(1)))),
        site(https(rule(target(1, weight=0)))),
        [f"in place            {RULE} target 10.0.0.5:1 weight: 10 -> 0"],
    ),
    "target_added": (
        site(https(rule(target(1)))),
        site(https(rule(target(1), target(2, weight=7)))),
        [f"in place            {RULE} target 10.0.0.5:2: added, weight 7, once its checks pass"],
    ),
    "unchecked_target_added": (
        site(https(rule(health_check={"enabled": False}))),
        site(https(rule(Target(address="fd00::1", port=2), health_check={"enabled": False}))),
        [f"in place            {RULE} target [fd00::1]:2: added, weight 10"],
    ),
    "target_removed": (
        site(https(rule(target(1), target(2)))),
        site(https(rule(target(2)))),
        [f"drained             {RULE} target 10.0.0.5:1: removed; running requests have 30s to finish"],
    ),
    "targets_change_places": (
        site(https(rule(target(1), target(2)))),
        site(https(rule(target(2), target(1)))),
        [f"in place            {RULE} targets: another order"],
    ),
    "grace_is_the_new_one": (
        site(https(rule(target(1)))),
        site(https(rule()), node=Node(drain_timeout="5m")),
        [
            "in place            node.drain_timeout: 30s -> 5m",
            f"drained             {RULE} target 10.0.0.5:1: removed; running requests have 5m to finish",
        ],
    ),
    "region_of_the_node": (
        site(https()),
        site(https(), node=Node(region=("south",))),
        ["in place            node.region: [local] -> [south]"],
    ),
    "region_leaves": (
        site(https()),
        Config(load_balancers=(LoadBalancer(name="shop", region=("south",), listeners=(https(),)),)),
        [
            "in place            shop region: none -> [south]",
            "listener removed    shop/https: 0.0.0.0:443 is closed; running requests have 30s to finish",
        ],
    ),
    "elsewhere": (
        Config(load_balancers=(LoadBalancer(name="shop", region=("south",)),)),
        Config(load_balancers=(LoadBalancer(name="shop", region=("south",), listeners=(https(),)),)),
        ["in place            shop: changed; it is not of a region of this node, so nothing is done"],
    ),
    "load_balancers_change_places": (
        Config(load_balancers=(LoadBalancer(name="a"), LoadBalancer(name="b"))),
        Config(load_balancers=(LoadBalancer(name="b"), LoadBalancer(name="a"))),
        ["in place            load_balancers: another order"],
    ),
    "certificate_added": (
        site(https()),
        site(https(), certificates={"web": Certificate(type="server", certificate=Path("a"))}),
        ["in place            certificate web: added; used by shop/https"],
    ),
    "certificate_removed": (
        Config(certificates={"web": Certificate(type="server", certificate=Path("a"))}),
        Config(),
        ["in place            certificate web: removed"],
    ),
    "many_certificates": (
        site(https(certificates=tuple("abcdef"))),
        site(https(certificates=tuple("abcdeg"))),
        ["in place            shop/https certificates: [a, b, c, d, and 2 more] -> [a, b, c, d, and 2 more]"],
    ),
}


@pytest.mark.parametrize(("old", "new", "lines"), CHANGES.values(), ids=CHANGES)
def test_lines_of_the_plan(old: Config, new: Config, lines: list[str]) -> None:
    assert str(plan(old, new)).splitlines() == lines


def mutual(**keys: Any) -> Listener:
    return https(ssl_mode="mutual", ca_certificate="partners", crl=Path("/crl"), **keys)


DECLARED = {
    "web": Certificate(type="server", certificate=Path("/a")),
    "partners": Certificate(type="ca", certificate=Path("/b")),
}
FILES = {
    "server_certificate": (
        Contents(certificates={"web": "1"}),
        Contents(certificates={"web": "2"}),
        [
            "in place            certificate web: its file has another certificate; "
            "used by shop/a, shop/b, shop/c and 1 more"
        ],
    ),
    "authority": (
        Contents(authorities={"partners": b"1"}),
        Contents(authorities={"partners": b"2"}),
        [
            "in place            certificate partners: its file has another certificate; "
            "used by shop/a, shop/b, shop/c and 1 more",
            *(
                f"fresh TLS sessions  shop/{name} ca_certificate: partners: its file has another certificate"
                for name in "abcd"
            ),
        ],
    ),
    "revocations": (
        Contents(revocations={("shop", "b"): b"1"}),
        Contents(revocations={("shop", "b"): b"2"}),
        ["fresh TLS sessions  shop/b crl: its file has another list"],
    ),
    "admin": (
        Contents(admin="1"),
        Contents(admin="2"),
        ["management restarts admin.tls: another certificate"],
    ),
}


@pytest.mark.parametrize(("before", "after", "lines"), FILES.values(), ids=FILES)
def test_files_that_change_under_their_names(before: Contents, after: Contents, lines: list[str]) -> None:
    listeners = [mutual().model_copy(update={"name": name, "port": ord(name)}) for name in "abcd"]
    config = site(*listeners, certificates=DECLARED)
    assert str(plan(config, config, before, after)).splitlines() == lines
    assert not plan(config, config, before, before)


def test_a_certificate_that_nobody_uses() -> None:
    config = Config(certificates=DECLARED)
    found = plan(config, config, Contents(certificates={"web": "1"}), Contents(certificates={"web": "2"}))
    assert [entry.what for entry in found.entries] == ["its file has another certificate; no listener here uses it"]


def test_what_the_service_asks_of_a_plan() -> None:
    old = site(https(rule(target(1))), https(name="b"))
    new = site(https(rule(), tls_policy="modern"), https(name="c"), node=Node(workers=2))
    found = plan(old, new)
    assert found.listeners(Kind.NEW_BASE) == {"shop/https"}
    assert found.listeners(Kind.NEW_LISTENER, Kind.REMOVED_LISTENER) == {"shop/b", "shop/c"}
    assert [entry.where for entry in found.of(Kind.WORKERS)] == ["node.workers"]
    assert not Plan(())
    assert str(Plan(())) == "nothing changes"


# --- any two configurations ---

targets = st.lists(
    st.builds(target, st.integers(1, 4), weight=st.integers(0, 2)), max_size=3, unique_by=lambda t: t.port
)
rules = st.lists(
    st.builds(
        lambda found, domain, scheduler: rule(*found, domain=domain, scheduler=scheduler),
        targets,
        st.sampled_from(["a.test", "b.test"]),
        st.sampled_from(["wrr", "ip_hash"]),
    ),
    max_size=2,
    unique_by=lambda r: r.domain,
)
listeners = st.lists(
    st.builds(
        lambda found, name, port, policy: https(*found, name=name, port=port, tls_policy=policy),
        rules,
        st.sampled_from("xy"),
        st.integers(1, 2),
        st.sampled_from(["documented", "modern"]),
    ),
    max_size=2,
    unique_by=lambda listener: listener.name,
)
configs = st.builds(
    lambda found, region: site(*found, node=Node(name="n", region=region)),
    listeners,
    st.sampled_from(["local", "south"]),
)


@given(configs, configs)
def test_a_plan_is_empty_for_equals_only(old: Config, new: Config) -> None:
    assert bool(plan(old, new)) == (old != new)
