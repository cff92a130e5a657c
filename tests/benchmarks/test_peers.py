"""The four configurations say the same, each in its own words; clb's is one that clb accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmarks import realserver
from benchmarks.material import make_key_pairs
from benchmarks.peers import PEERS, clb, envoy, haproxy, nginx
from benchmarks.site import REQUEST_HEADERS, TLS12_SUITES, Site
from clb.config.loader import load


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    directory = tmp_path_factory.mktemp("site")
    pairs = make_key_pairs(directory)
    return Site(directory, {"ecdsa": 8443, "rsa": 8444}, 8080, pairs, 9000)


TEXTS: dict[str, Callable[[Site], str]] = {
    "nginx": nginx.render,
    "haproxy": haproxy.render,
    "envoy": lambda site: json.dumps(envoy.render(site)),
}


@pytest.mark.parametrize("render", TEXTS.values(), ids=TEXTS)
def test_a_peer_has_both_listeners_the_target_the_certificates_and_the_suites(
    render: Callable[[Site], str], site: Site
) -> None:
    text = render(site)
    assert all(str(port) in text for port in (*site.ports.values(), site.upstream_port))
    assert all(suite in text for suite in TLS12_SUITES)
    for pair in site.key_pairs.values():
        assert str(pair.certificate) in text or str(pair.combined) in text


SET_BY_ITSELF = {
    "nginx": set(),
    "haproxy": {"X-Forwarded-For"},  # option forwardfor
    "envoy": {"X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID"},
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_peer_adds_every_header(name: str, site: Site) -> None:
    text = TEXTS[name](site)
    assert {header for header in REQUEST_HEADERS if header not in text} == SET_BY_ITSELF[name]


@pytest.mark.parametrize("name", PEERS)
def test_prepare_writes_the_configuration_that_the_command_names(name: str, site: Site) -> None:
    command = PEERS[name](site).command
    written = [Path(word) for word in command if word.startswith(str(site.directory)) and Path(word).is_file()]
    assert len(written) == 1
    assert written[0].stat().st_size > 0


def test_clb_accepts_its_configuration(site: Site) -> None:
    path = site.directory / "accepted.yaml"
    path.write_text(yaml.safe_dump(clb.render(site)))
    config = load(path)
    listeners = config.load_balancers[0].listeners
    assert [(listener.name, listener.port) for listener in listeners] == list(site.ports.items())
    assert listeners[0].rules[0].targets[0].port == site.upstream_port
    # What the other configurations state and clb has by default.
    assert listeners[0].limits.keepalive_requests == 10_000
    assert listeners[0].limits.body_bytes == 60 << 20
    assert listeners[0].timeouts.keepalive == 75
    assert listeners[0].rules[0].pool.idle == 64


def test_private_keys_are_for_their_owner_only(site: Site) -> None:
    for pair in site.key_pairs.values():
        assert pair.private_key.stat().st_mode & 0o077 == 0
        assert pair.combined.stat().st_mode & 0o077 == 0


def test_the_real_server_has_the_sizes_that_the_cases_name(tmp_path: Path) -> None:
    assert len(realserver.SMALL_ANSWER) == 34
    realserver.prepare(8080, tmp_path, 1000)
    assert (tmp_path / "10k.bin").stat().st_size == 10_240
    assert (tmp_path / "1m.bin").stat().st_size == 1_048_576
    assert realserver.render(8080, tmp_path, 1000).count("echo_flush") == realserver.CHUNKS
