"""Two nodes on one PostgreSQL: what one is told the other shows, within a second."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from faq_node import CERTIFICATES, FaqNode, Issuer, Stream, leaf
from real_server import RealServer

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from postgres import postgres

from clb.certificates.keyring_source import make_keyring


@pytest.fixture(scope="module")
def nodes(material, tmp_path_factory):
    """Two nodes of different regions with one store and one keyring."""
    tmp_path = tmp_path_factory.mktemp("fleet")
    make_keyring(tmp_path / "ring")
    with postgres() as server, RealServer() as real_server:
        url = server.database()
        made = []
        for region in ("north", "south"):
            directory = tmp_path / region
            directory.mkdir()
            node = FaqNode(material, directory)
            node.document["node"] |= {"region": region, "name": region}
            node.document |= {"store": {"url": url}, "keyring": {"file": str(tmp_path / "ring")}}
            made.append(node)
        with made[0], made[1]:
            for node in made:
                node.clear(real_server.port)
            yield made


def wait_until(condition, limit_s=1.0):
    """How long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s
        time.sleep(0.005)
    return time.monotonic() - began


def test_what_one_replaces_both_show_within_a_second(nodes):
    north, south = nodes
    issuer = Issuer()
    first, second = issuer.issue(), issuer.issue()
    known = north.upload("web", first)
    wait_until(lambda: south.api.get(f"{CERTIFICATES}?name=web")["certificates"])
    bound = {"certificate": known["id"]}
    listeners = {"n": north.serve(shop={"n": bound})["n"], "s": south.serve(shop={"s": bound})["s"]}
    context = issuer.context()
    assert {leaf(port, context) for port in listeners.values()} == {first.fingerprint}
    with Stream(listeners["s"], context) as stream:
        wait_until(lambda: len(stream.shown) > 3, 10)
        known = north.replace(known, second)
        wait_until(lambda: stream.shown[-1] == second.fingerprint)
        assert leaf(listeners["n"], context) == second.fingerprint
    assert stream.faults == []
    # And the other way round, from the node that only followed.
    path = f"{CERTIFICATES}/{known['id']}"
    south.api.ask("POST", f"{path}/rollback", {}, {"If-Match": f'"{known["version"]}"'})
    wait_until(lambda: leaf(listeners["n"], context) == first.fingerprint)


def test_two_operators_at_once_and_one_of_them_is_told(nodes):
    north, south = nodes
    issuer = Issuer()
    known = north.upload("other", issuer.issue())
    wait_until(lambda: south.api.get(f"{CERTIFICATES}?name=other")["certificates"])
    north.replace(known, issuer.issue())
    refusal = south.refusal(
        "POST",
        f"{CERTIFICATES}/{known['id']}/replace",
        issuer.issue().upload,
        **{"If-Match": f'"{known["version"]}"'},
    )
    assert refusal.code == "version_mismatch"
