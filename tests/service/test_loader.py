"""What the loader makes of a file: an outline without keys, keys apart, rows, bases, what changes; or only faults."""

from __future__ import annotations

import os

import pytest
import yaml
from live_proxy import rule, site

from clb.balancing.candidate import Candidate
from clb.config.models import Config
from clb.metering.cells import Rows
from clb.service.bases import Bases
from clb.service.bundle_files import BundleReader
from clb.service.channel import Channel
from clb.service.loader import ROWS, LoadOrder, rows_for, run_loader
from clb.service.loading import Loaded, NotLoaded, read_answer
from clb.service.row_keys import row_keys


@pytest.fixture
def write(tmp_path, material):
    """Write a site; the keys are those of its https listener, and `node` and `admin`."""

    def to_file(*, node=None, admin=None, edit=lambda document: None, **keys):
        document = site(material, **{"targets": [8080], **keys})
        document["node"] = {"state_dir": "state", **(node or {})}
        if admin:
            document["admin"] = admin
        edit(document)
        file = tmp_path / "clb.yaml"
        file.write_text(yaml.safe_dump(document))
        return file

    return to_file


@pytest.fixture
def load(write, closing, monkeypatch):
    """Load a site as the loader's process does."""
    monkeypatch.setattr("clb.service.loader.os.nice", lambda _: None)  # This process is not the loader's.

    def loaded(*, rows=None, bases=None, running=(), **keys):
        ours, theirs = Channel.pair()
        order = LoadOrder(write(**keys), 7, rows or Rows(ROWS), bases or Bases(), running)
        assert run_loader(order, theirs) == 0
        message, files = ours.receive()
        ours.close()
        theirs.close()
        result = read_answer(message, files)
        if isinstance(result, Loaded):
            closing.callback(result.close)
        return result

    return loaded


def test_what_the_supervisor_learns(load, tmp_path):
    loaded = load(
        node={"workers": 3, "drain_timeout": "7s", "watch": True, "access_log": {"path": "access.log"}},
        admin={"port": 9444},
    )
    assert loaded.version == 7
    assert (loaded.node.workers, loaded.node.drain_timeout, loaded.node.watch) == (3, 7.0, True)
    assert (loaded.node.state_dir, loaded.node.access_log) == (tmp_path / "state", tmp_path / "access.log")
    assert (loaded.node.user, loaded.node.admin) == (None, ("127.0.0.1", 9444))
    assert loaded.listeners == {"lb/https": ("127.0.0.1", 443)}
    assert {key: place for key, (place, _) in loaded.bases.items()} == {"lb/https": 0}
    assert loaded.admin_identity is None
    assert loaded.plan == []


@pytest.mark.parametrize("log", [{"path": "-"}, {"path": "access.log", "format": "off"}], ids=["stdout", "off"])
def test_a_log_that_is_no_file_is_not_the_supervisors_business(load, log):
    assert load(node={"access_log": log}).node.access_log is None


def test_auto_is_a_number(load):
    assert load(node={"workers": "auto"}).node.workers >= 1


def test_keys_are_apart_from_everything_else(load, material):
    loaded = load(admin={"tls": {"certificate": str(material.certificate), "private_key": str(material.private_key)}})
    outline = os.pread(loaded.outline, 1 << 22, 0)
    assert b"PRIVATE KEY" not in outline
    reader = BundleReader()
    identity = reader.keys(loaded.keys).identities["web"]
    assert b"PRIVATE KEY" in identity.private_key_pem
    assert set(reader.keys(loaded.keys).identities) == {"web"}
    assert reader.admin(loaded.admin_identity) == identity
    facts = reader.outline(loaded.outline).certificates["web"]
    assert facts.names == identity.names
    assert len(facts.fingerprint) == 64
    assert reader.outline(loaded.outline).admin == facts


def test_faults_come_with_their_places(load, tmp_path):
    refused = load(certificate="nothing")
    assert isinstance(refused, NotLoaded)
    assert refused.kind == "file"
    assert refused.text.startswith(f"{tmp_path}/clb.yaml:")
    assert "nothing" in refused.text


def test_what_openssl_refuses_is_known_before_any_worker_is_asked(load, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no more descriptors")

    monkeypatch.setattr("clb.service.loader.try_identities", refuse)
    refused = load()
    assert isinstance(refused, NotLoaded)
    assert (refused.kind, refused.text) == ("tls", "listener lb/https: no more descriptors")


def test_all_files_are_watched(load, tmp_path, material):
    loaded = load(
        ssl_mode="mutual",
        ca_certificate="partners",
        admin={"tls": {"certificate": str(material.renewed_certificate), "private_key": str(material.renewed_key)}},
    )
    assert set(loaded.watched) == {
        tmp_path / "clb.yaml",
        material.certificate,
        material.private_key,
        material.clients_ca,
        material.renewed_certificate,
        material.renewed_key,
    }


# --- rows ---


def test_everything_that_is_counted_has_a_row(load):
    loaded = load()
    names = ["lb/https", "lb/https shop.example.com/", "lb/https shop.example.com/ 127.0.0.1:8080"]
    assert loaded.rows == names
    rows = BundleReader().outline(loaded.outline).rows
    assert rows == {"node": 0, **{name: number for number, name in enumerate(names, 1)}}


def test_the_supervisor_gives_the_same_rows_by_the_same_order(load):
    rows = Rows(ROWS)
    rows.assign(["of a listener that is gone"])
    loaded = load(rows=rows)
    theirs = BundleReader().outline(loaded.outline).rows
    assert rows.assign(loaded.rows) == theirs


def test_a_full_table_begins_anew(load):
    rows = Rows(4)
    rows.assign(["a", "b", "c"])
    loaded = load(rows=rows)
    assert loaded.fresh_rows
    assert BundleReader().outline(loaded.outline).rows["lb/https"] == 1
    assert not load(rows=Rows(4)).fresh_rows


def test_a_new_table_has_room_to_grow():
    assert rows_for(3) == ROWS
    assert rows_for(ROWS) == 4 * ROWS


def test_targets_are_called_by_their_identity():
    targets = [{"address": address, "port": 80} for address in ("10.0.0.1", "fd00::1", "app")]
    listener = {
        "port": 80,
        "protocol": "http",
        "rules": [rule(), {**rule(url="/x", default=False), "targets": targets}],
    }
    config = Config.model_validate({"load_balancers": [{"name": "lb", "listeners": [listener]}]}, strict=False)
    expected = [Candidate(each["address"], 80, 1, None).identity for each in targets]
    assert [key.rpartition(" ")[2] for key in list(row_keys(config))[-3:]] == expected


# --- bases ---

FRESH = {  # case: (keys before, keys after, whether the listener gets a fresh base)
    "same": ({}, {}, False),
    "timeouts": ({}, {"timeouts": {"keepalive": "9s"}}, False),
    "policy": ({}, {"tls_policy": "modern"}, True),
    "now_mutual": ({}, {"ssl_mode": "mutual", "ca_certificate": "partners"}, True),
    "no_longer_mutual": ({"ssl_mode": "mutual", "ca_certificate": "partners"}, {}, True),
    "optional": (
        {"ssl_mode": "mutual", "ca_certificate": "partners"},
        {"ssl_mode": "mutual", "ca_certificate": "partners", "verify_client": "optional"},
        True,
    ),
    "depth": (
        {"ssl_mode": "mutual", "ca_certificate": "partners"},
        {"ssl_mode": "mutual", "ca_certificate": "partners", "verify_depth": 2},
        True,
    ),
}


@pytest.mark.parametrize(("before", "after", "is_fresh"), FRESH.values(), ids=FRESH)
def test_what_needs_fresh_sessions(load, before, after, is_fresh):
    bases = Bases()
    bases.take(load(bases=bases, **before).bases)
    assert load(bases=bases, **after).bases["lb/https"][0] == int(is_fresh)


def test_another_ca_in_the_same_file_needs_fresh_sessions(load, tmp_path, material):
    authority = tmp_path / "ca.pem"
    keys = {
        "ssl_mode": "mutual",
        "ca_certificate": "partners",
        "edit": lambda document: document["certificates"]["partners"].update(certificate=str(authority)),
    }
    bases = Bases()
    authority.write_bytes(material.clients_ca.read_bytes())
    bases.take(load(bases=bases, **keys).bases)
    authority.write_bytes(material.authority.read_bytes())
    assert load(bases=bases, **keys).bases["lb/https"][0] == 1


def test_http_has_no_base(load):
    assert load(protocol="http").bases == {}


# --- what changes ---


def test_a_plan_tells_what_changes(load, material):
    before = load()
    assert load(running=before.for_control).plan == []
    changed = load(
        running=before.for_control,
        node={"user": "nobody"},
        edit=lambda document: document["certificates"]["web"].update(
            certificate=str(material.renewed_certificate), private_key=str(material.renewed_key)
        ),
    )
    assert len(changed.changes_of("needs_restart")) == 1
    assert "node.user" in changed.changes_of("needs_restart")[0]
    assert any("certificate web" in entry["where"] for entry in changed.plan)
    assert {entry["kind"] for entry in changed.plan} == {"needs_restart", "in_place"}
