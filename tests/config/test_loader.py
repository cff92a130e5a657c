"""Loading whole files: all faults at once, in order; the files that ship; what five thousand rules cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clb.config.faults import ConfigErrors
from clb.config.loader import Reading, load, read, sound_certificates

EXAMPLES = Path(__file__).parents[2] / "config"

MANY_FAULTS = """\
nod: {}
certificates:
  web: {type: server, certificate: w}
load_balancers:
  - name: shop
    name: shop2
    listeners:
      - port: 0
        certificate: wbe
        ca_certificate: web
        timeouts: {handshake: 5}
        rules:
          - domain: "*"
            health_check: {timeout: 9s}
            targets: [{adress: 10.0.0.1, port: 80}]
"""


@pytest.mark.parametrize("name", ["minimal.yaml", "full.yaml", "mutual-tls.yaml", "clb.yaml"])
def test_the_examples_are_sound(name: str) -> None:
    reading = read(EXAMPLES / name)
    assert reading.faults == ()
    assert reading.warnings == ()
    assert load(EXAMPLES / name) == reading.config


def test_the_full_example_has_every_key() -> None:
    config = load(EXAMPLES / "full.yaml")
    listener, http = config.load_balancers[0].listeners
    # Where keys exclude each other, the one that is not in the example is named here.
    assert set(type(listener).model_fields) - listener.model_fields_set == {"certificate"}
    assert set(type(config.keyring).model_fields) - config.keyring.model_fields_set == {"file", "command"}
    rule = listener.rules[0]
    assert set(type(rule).model_fields) - rule.model_fields_set == {"redirect", "hash_on"}
    redirects = [rule.redirect for rule in (*listener.rules, *http.rules) if rule.redirect]
    assert {key for redirect in redirects for key in redirect.model_fields_set} == set(type(redirects[0]).model_fields)
    certificates = config.certificates.values()
    parts = [config, config.node, config.node.access_log, config.admin, config.admin.tls, config.store, config.notify]
    parts += [config.load_balancers[0], listener.timeouts, listener.limits, rule.session, rule.health_check]
    parts += [rule.pool, rule.retry, rule.targets[0], next(iter(certificates))]
    for part in parts:
        assert part is not None
        # `stored` refers to a store, and is what `clb export` writes.
        assert part.model_fields_set == set(type(part).model_fields) - {"stored"}, part


def test_every_fault_comes_at_once_and_in_order(faults: Callable[[str], list[str]]) -> None:
    front = "load_balancers[0].listeners[0]"
    assert faults(MANY_FAULTS) == [
        '1:1: nod: unknown key; did you mean "node"?',
        "3:8: certificates.web.private_key: is missing; a server certificate needs its private key",
        '6:5: the key "name" is given twice; the first one stands at line 5, column 5',
        f"8:15: {front}.port: is 0; write a whole number from 1 to 65535",
        f'9:22: {front}.certificate: no certificate is called "wbe"; did you mean "web"?',
        f"10:9: {front}.ca_certificate: a one_way listener checks no client certificate; "
        "set ssl_mode: mutual or remove ca_certificate",
        f'10:25: {front}.ca_certificate: "web" is a server certificate; clients are checked against one of type ca',
        f'11:31: {front}.timeouts.handshake: is 5; write a duration with its unit, such as "5s"',
        f'12:9: {front}.rules: none of the 1 rules has "default: true"; exactly one must',
        f'13:21: {front}.rules[0].domain: "*" alone is no domain; name one and set "default: true" to catch all others',
        f"14:37: {front}.rules[0].health_check.timeout: timeout (9s) must be less than interval (5s)",
        f'15:24: {front}.rules[0].targets[0].adress: unknown key; did you mean "address"?',
    ]


def test_load_raises_what_read_tells(tmp_path: Path) -> None:
    file = tmp_path / "clb.yaml"
    file.write_text(MANY_FAULTS)
    with pytest.raises(ConfigErrors) as caught:
        load(file)
    assert caught.value.faults == list(read(file).faults)


UNREADABLE = {
    "missing": ("nowhere.yaml", "cannot be read: no such file"),
    "directory": (".", "cannot be read: is a dir"),
}


@pytest.mark.parametrize(("name", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}:1:1: {message}")


def test_everything_may_be_absent(reading: Callable[[str], Reading]) -> None:
    config = reading("node: {}").config
    assert config is not None
    assert (config.certificates, config.load_balancers) == ({}, ())
    assert config.node.name


def test_the_sound_certificates_of_a_broken_file(reading: Callable[[str], Reading]) -> None:
    found = reading("certificates:\n  a: {type: ca, certificate: a.pem}\n  b: {type: x}\nnode: 3\n")
    assert found.config is None
    assert list(sound_certificates(found)) == ["a"]
    assert list(sound_certificates(reading("certificates: 3"))) == []
    assert list(sound_certificates(reading("- 3"))) == []
    assert list(sound_certificates(reading("certificates: {a: {type: ca, certificate: a.pem}}"))) == ["a"]


def test_five_thousand_rules_load_in_seconds(reading: Callable[[str], Reading]) -> None:
    rules = "".join(
        f"          - domain: d{number}.example.com\n"
        f"            default: {str(number == 0).lower()}\n"
        "            session: {expire: 1h, cookie_name: CLBSESSION}\n"
        "            health_check: {path: /, interval: 5s, timeout: 2s}\n"
        "            targets:\n"
        "              - {address: 10.0.0.5, port: 8080, weight: 10}\n"
        "              - {address: app.internal, port: 8080, weight: 10}\n"
        for number in range(5000)
    )
    text = f"load_balancers:\n  - listeners:\n      - protocol: http\n        port: 80\n        rules:\n{rules}"
    began = time.process_time()
    config = reading(text).config
    took = time.process_time() - began
    assert config is not None
    assert len(config.load_balancers[0].listeners[0].rules) == 5000
    # Two to three seconds on an idle core; a busy machine under coverage takes four times as long.
    assert took < 30, f"{took:.1f} s of CPU time"
