"""File and store together: clashes that name both, references, overrides, and what is left out."""

from __future__ import annotations

import pytest
from inventories import NOW, balancer, certificate, inventory, listener, rule, shop, target

from clb.config.models import Config
from clb.service.merging import FilePart, effective_weight, left_out, merge, problems, without_listeners
from clb.service.steps import at_once
from clb.service.stored_models import StoredModels
from clb.store.inventory import Inventory, Override, Write


def file(*listeners, certificates=None, **config):
    document = {"load_balancers": ({"name": "own", "listeners": listeners},), **config}
    return FilePart(Config.model_validate({**document, "certificates": certificates or {}}))


def front(port=80, weights=(10, 10), domain="own.example.com"):
    targets = tuple({"address": "10.0.0.9", "port": 80 + n, "weight": w} for n, w in enumerate(weights))
    rules = ({"domain": domain, "default": True, "targets": targets},)
    return {"name": "http", "port": port, "protocol": "http", "rules": rules}


def models(known):
    return at_once(StoredModels().after(known, Config()))


CLASHES = {
    "name": (
        (balancer("lb-1", "own"),),
        "load balancer own",
        "name",
        'the configuration file has a load balancer "own" too; give one another name',
    ),
    "socket": (
        (balancer("lb-1", "shop"), listener("lst-1", "lb-1", 80)),
        "load balancer shop, listener http",
        "port",
        "0.0.0.0:80 is taken by load balancer own, listener http of the file (0.0.0.0:80); "
        "choose another port or address",
    ),
    "management": (
        (balancer("lb-1", "shop"), listener("lst-1", "lb-1", 9443)),
        "load balancer shop, listener http",
        "port",
        "0.0.0.0:9443 is taken by the management address (127.0.0.1:9443); choose another port or address",
    ),
    "each_other": (
        (
            balancer("lb-1", "shop"),
            listener("lst-1", "lb-1", 81),
            balancer("lb-2", "more"),
            listener("lst-2", "lb-2", 81),
        ),
        "load balancer more, listener http",
        "port",
        "0.0.0.0:81 is taken by load balancer shop, listener http (0.0.0.0:81); choose another port or address",
    ),
    "no_certificate": (
        (balancer("lb-1", "shop"), listener("lst-1", "lb-1", 81, protocol="https", certificate="wob")),
        "load balancer shop, listener http",
        "certificate",
        'no certificate is called "wob"; did you mean "web"?',
    ),
    "of_another_type": (
        (balancer("lb-1", "shop"), listener("lst-1", "lb-1", 81, protocol="https", certificate="cert-ca")),
        "load balancer shop, listener http",
        "certificate",
        '"partners" is a CA certificate; a listener shows one of type server',
    ),
    "redirects": (
        (
            balancer("lb-1", "shop"),
            listener("lst-1", "lb-1", 81),
            rule("rule-1", "lst-1", "a.example.com", redirect={"host": "b.example.com"}),
            rule("rule-2", "lst-1", "b.example.com", 1, redirect={"host": "a.example.com"}),
        ),
        "load balancer shop, listener http, rule a.example.com /",
        "redirect",
        "leads to http://b.example.com/, which load balancer shop, listener http, rule b.example.com / redirects on; "
        "send the client to the last destination at once",
    ),
}


@pytest.mark.parametrize(("entries", "place", "key", "message"), CLASHES.values(), ids=CLASHES)
def test_clashes_name_both(entries, place, key, message):
    known = inventory(*entries, certificates=(certificate("cert-1", "web"), certificate("cert-ca", "partners", "ca")))
    found = next(problems(file(front()), models(known)))
    assert (found.where, found.key, found.message) == (place, key, message)


def test_a_certificate_of_both_is_named():
    files = {"web": {"type": "server", "certificate": "web.pem", "private_key": "web.key"}}
    known = inventory(certificates=(certificate("cert-1", "web"),))
    (found,) = problems(file(front(), certificates=files), models(known))
    assert found.where == "certificate web"
    assert "the configuration file has a certificate" in found.message
    named = {"web": {"type": "server", "stored": "cert-aaaaaa"}}
    same = inventory(certificates=(certificate("cert-aaaaaa", "web"),))
    assert list(problems(file(front(), certificates=named), models(same))) == []


def test_sockets_of_different_regions_do_not_clash():
    known = inventory(balancer("lb-1", "shop", region="elsewhere"), listener("lst-1", "lb-1", 80))
    assert list(problems(file(front()), models(known))) == []


def test_the_file_comes_first_and_then_the_store_by_position():
    known = inventory(balancer("lb-1", "late", 2), *shop(), balancer("lb-2", "early", -1))
    merged = merge(file(front()), models(known))
    assert [each.name for each in merged.config.load_balancers] == ["own", "early", "shop", "late"]
    assert [each.stored for each in merged.config.load_balancers] == [None, "lb-2", "lb-shop", "lb-1"]


def test_certificates_that_nobody_uses_are_not_in_it():
    secure = listener("lst-1", "lb-1", 8443, protocol="https", certificate="cert-1")
    certificates = (certificate("cert-1", "web"), certificate("cert-2", "other"))
    known = inventory(balancer("lb-1", "shop"), secure, certificates=certificates)
    merged = merge(file(front()), models(known))
    assert list(merged.certificates) == ["web"]
    elsewhere = inventory(balancer("lb-1", "shop", region="far"), secure, certificates=certificates)
    assert list(merge(file(front()), models(elsewhere)).certificates) == []


# --- overrides ---

KEY = "own/http own.example.com/ 10.0.0.9:80"


def override(weight=3, file_weight=10, draining=False, key=KEY):
    return Override(key, weight, draining, file_weight, 1, NOW)


@pytest.mark.parametrize(
    ("given", "weight"),
    [(override(3), 3), (override(None), 10), (override(None, draining=True), 0), (override(3, draining=True), 0)],
)
def test_effective_weights(given, weight):
    assert effective_weight(given) == weight


def with_overrides(*overrides):
    return models(Inventory.of(1, (), (), overrides))


def test_an_override_changes_the_weight_and_can_be_undone():
    part = file(front(), front(81, domain="other.example.com"))
    merged = merge(part, with_overrides(override(3)))
    first, second = merged.config.load_balancers[0].listeners
    assert [each.weight for each in first.rules[0].targets] == [3, 10]
    assert second is part.config.load_balancers[0].listeners[1]
    assert merged.overrides == {KEY: override(3)}
    assert FilePart.of(merged.config, frozenset(), merged.overrides).config == part.config
    again = merge(part, with_overrides(override(3)), merged)
    assert again.config.load_balancers[0] is merged.config.load_balancers[0]


@pytest.mark.parametrize(
    "over",
    [override(3, file_weight=9), override(3, key="own/http own.example.com/ 10.0.0.9:99")],
    ids=["other", "gone"],
)
def test_an_override_ends_with_the_weight_that_it_was_for(over):
    part = file(front())
    merged = merge(part, with_overrides(over))
    assert merged.overrides == {}
    assert merged.config.load_balancers == part.config.load_balancers


# --- what cannot be served ---


def test_a_damaged_certificate_takes_its_listener_and_nothing_else():
    secure = listener("lst-1", "lb-1", 8443, protocol="https", certificate="cert-1")
    plain = listener("lst-2", "lb-1", 8080, name="plain")
    known = inventory(balancer("lb-1", "shop"), secure, plain, certificates=(certificate("cert-1", "web"),))
    merged = merge(file(front()), models(known))
    gone = left_out(merged, {"web": "it is damaged"})
    assert gone == {"shop/http": "certificate web: it is damaged"}
    served = without_listeners(merged, gone).config.load_balancers
    assert [each.name for each in served[1].listeners] == ["plain"]
    assert served[0] is merged.config.load_balancers[0]
    assert left_out(merged, {}) == {}
    assert without_listeners(merged, {}) is merged


def test_targets_alone_leave_all_else_as_it_is():
    known = inventory(*shop())
    before_models = models(known)
    part = file(front())
    before = merge(part, before_models)
    after = known.after(write_of(target("tgt-x", "rule-1", 9999)))
    stored = at_once(before_models.after(after, before.config))
    merged = merge(part, stored, before)
    assert merged.certificates is before.certificates
    assert merged.config.load_balancers[0] is before.config.load_balancers[0]
    assert len(merged.config.load_balancers[1].listeners[0].rules[1].targets) == 3


def write_of(*entries):
    return Write(entries=entries)
