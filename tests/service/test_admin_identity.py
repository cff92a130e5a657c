"""The files of the management address's own certificate."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from clb.certificates.self_made import LIFETIME
from clb.service.admin_identity import CERTIFICATE, KEY, configured, ensure
from clb.tls.contexts import Identity

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ("127.0.0.1", "localhost")


def test_it_is_made_once_and_private(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    made = ensure(tmp_path, NAMES, NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEY, CERTIFICATE]
    for name in (KEY, CERTIFICATE):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert ensure(tmp_path, NAMES, NOW + timedelta(days=700)) == made
    assert made.facts.is_own
    assert sorted(made.facts.names) == sorted(NAMES)
    assert "PRIVATE KEY" not in repr(made) + caplog.text
    (line,) = [each for each in caplog.records if each.message == "management certificate made"]
    assert line.fields["fingerprint"] == made.facts.fingerprint


ANEW = {
    "about_to_expire": (NAMES, LIFETIME - timedelta(days=29)),
    "another_name": ((*NAMES, "clb-2"), timedelta()),
}


@pytest.mark.parametrize(("names", "later"), ANEW.values(), ids=ANEW)
def test_it_is_made_anew_with_the_same_key(tmp_path, names, later):
    made = ensure(tmp_path, NAMES, NOW)
    renewed = ensure(tmp_path, names, NOW + later)
    assert renewed.facts.fingerprint != made.facts.fingerprint
    assert renewed.facts.public_key_pin == made.facts.public_key_pin
    assert renewed.facts.not_after > NOW + later + timedelta(days=800)
    assert ensure(tmp_path, names, NOW + later) == renewed


def damage_key(path):
    path.write_bytes(b"nonsense")


def show_key(path):
    path.chmod(0o640)


def link_key(path):
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("harm", [damage_key, show_key, link_key])
def test_a_key_that_is_none_or_that_others_saw_is_not_used_again(tmp_path, harm, caplog):
    made = ensure(tmp_path, NAMES, NOW)
    harm(tmp_path / KEY)
    again = ensure(tmp_path, NAMES, NOW)
    assert again.facts.public_key_pin != made.facts.public_key_pin
    assert not (tmp_path / KEY).is_symlink()
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    assert ("others could read" in caplog.text) is (harm is show_key)
    assert ensure(tmp_path, NAMES, NOW) == again


def test_a_certificate_that_is_gone_is_made_of_the_key(tmp_path):
    made = ensure(tmp_path, NAMES, NOW)
    (tmp_path / CERTIFICATE).unlink()
    (tmp_path / f"{CERTIFICATE}.new").write_text("left by one that was killed")
    assert ensure(tmp_path, NAMES, NOW).facts.public_key_pin == made.facts.public_key_pin
    assert not (tmp_path / f"{CERTIFICATE}.new").exists()


def test_without_a_directory_it_lasts_as_long_as_the_process(tmp_path, caplog):
    made = ensure(tmp_path / "nowhere", NAMES, NOW)
    assert sorted(made.facts.names) == sorted(NAMES)
    assert "cannot be kept" in caplog.text


def test_one_that_the_configuration_names(material):
    chain, key = material.certificate.read_bytes(), material.private_key.read_bytes()
    shown = configured(Identity(chain, key, ("shop.example.com",), "ECDSA"))
    assert (shown.facts.is_own, shown.facts.names) == (False, ("shop.example.com",))
    assert len(shown.facts.fingerprint) == 64
