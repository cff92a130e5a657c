"""Notices: each day once for each generation, in the log, as an event, as a metric and to the webhook."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from certificate_desk import Desk, authority, good
from certificate_lab import ec_key

from clb.certificates.keyring import new_secret
from clb.control.notices import Notices
from clb.control.told_file import FILE_NAME, ToldFile
from clb.control.webhook import Webhook
from clb.service.bundle import CertificateFacts
from clb.store.interface import StoreAway

SITE = {"certificates": {"from-file": {"type": "server", "certificate": "web.pem", "private_key": "web.key"}}}
DAY = 86400


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path, SITE, new_secret())
    desk.node.outline = replace(desk.node.outline, certificates={})
    desk.directory = tmp_path
    return desk


class Ear:
    """One control process's notices, and what was heard of them."""

    def __init__(self, desk):
        self.desk = desk
        self.posted = []
        hook = Webhook(lambda: desk.now, desk.node.deliveries, self._post)
        hook.configure("http://hook.example/", None)
        self.hook = hook
        self.notices = Notices(desk.node, desk.directory, hook, lambda: desk.now)

    async def _post(self, url, body, headers):
        self.posted.append(json.loads(body))
        return 200

    def look(self):
        async def run():
            await self.notices.look()
            await self.hook.deliver_waiting()

        asyncio.run(run())
        return self

    @property
    def days(self):
        return [notice["notice_days"] for notice in self.posted]


def test_the_whole_life_of_a_stored_certificate(desk):
    desk.upload("shop", days=40)
    ear = Ear(desk)
    for _ in range(43):
        ear.look().look()
        desk.now += DAY
    assert ear.days == [30, 14, 7, 3, 1, 0]
    kinds = [event.kind for event in desk.node.events.after(0, 100) if event.kind.startswith("certificate")]
    assert kinds == ["certificate_expiring"] * 5 + ["certificate_expired"]
    assert desk.node.notices == dict.fromkeys(ear.days, 1)
    assert desk.node.deliveries == {"delivered": 6}


def test_what_is_told(desk, caplog):
    made = desk.upload("shop", days=2)
    desk.bind("shop", "https", certificate="shop")
    ear = Ear(desk).look()
    (notice,) = ear.posted
    assert notice["type"] == "certificate.expiring"
    assert notice["node"] == desk.node.outline.config.node.name
    told = notice["certificate"]
    assert (told["id"], told["name"], told["owner"], told["days_left"]) == (made["id"], "shop", "api", 2)
    assert (told["listeners"], told["fingerprint"]) == (["shop/https"], made["fingerprint"])
    assert "expires within 3 days" in notice["message"]
    assert "used by shop/https" in notice["message"]
    (record,) = (each for each in caplog.records if "expires" in each.message)
    assert record.levelname == "WARNING"


def test_another_process_does_not_tell_it_again(desk):
    desk.upload("shop", days=2)
    assert Ear(desk).look().days == [3]
    assert Ear(desk).look().days == []


def test_a_new_generation_begins_anew(desk):
    made = desk.upload("shop", days=2)
    ear = Ear(desk).look()
    desk.ask("POST", f"/v1/certificates/{made['id']}/replace", good(ec_key("b"), days=5), if_match="*")
    assert ear.look().days == [3, 7]


def test_a_ca_is_told_of_too(desk):
    desk.ask("POST", "/v1/certificates", {"name": "roots", **authority(days=10)})
    assert Ear(desk).look().days == [14]


def test_telling_changes_no_etag(desk):
    made = desk.upload("shop", days=2)
    Ear(desk).look()
    assert desk.inventory.certificates[made["id"]].version == 1


def test_nothing_is_told_while_it_cannot_be_written_down(desk):
    desk.upload("shop", days=2)
    commit = desk.store.commit

    def away(write, expected):
        raise StoreAway("gone")

    desk.store.commit = away
    ear = Ear(desk)
    with pytest.raises(StoreAway):
        ear.look()
    assert ear.days == []
    desk.store.commit = commit
    assert ear.look().days == [3]


# --- of the file ---


def load(desk, days, fingerprint="a" * 64, name="from-file"):
    end = datetime.fromtimestamp(desk.now, UTC) + timedelta(days=days)
    facts = CertificateFacts(("a.example",), "RSA", end - timedelta(days=90), end, fingerprint)
    desk.node.outline = replace(desk.node.outline, certificates={name: facts})


def test_the_whole_life_of_a_certificate_of_the_file_over_restarts(desk):
    load(desk, 40)
    days = []
    for _ in range(43):
        days += Ear(desk).look().look().days
        desk.now += DAY
    assert days == [30, 14, 7, 3, 1, 0]
    assert (desk.directory / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_another_certificate_in_the_file_begins_anew(desk):
    load(desk, 2)
    ear = Ear(desk).look()
    load(desk, 2, "b" * 64)
    assert ear.look().days == [3, 3]
    # What is not loaded any more is forgotten.
    assert ToldFile(desk.directory).load() == {"b" * 64: 3}


def test_notices_of_the_file_need_no_store(desk):
    load(desk, 2)
    desk.node.writer = None
    assert Ear(desk).look().days == [3]


def test_an_expired_certificate_is_served_loudly(desk, caplog):
    load(desk, -1)
    ear = Ear(desk)
    for _ in range(50):
        ear.look()
        desk.now += DAY / 24
    told = [each.levelname for each in caplog.records if "expired" in each.message]
    # The notice, and a reminder on each of the two days that follow.
    assert told == ["ERROR"] * 3


DAMAGED = {
    "no_json": b"{",
    "no_mapping": b"[]",
    "other_form": b'{"form": 2, "told": {}}',
    "other_values": b'{"form": 1, "told": {"x": 3, "' + b"a" * 64 + b'": 4}}',
    "too_large": b" " * ((4 << 20) + 1),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_not_believed(desk, data):
    (desk.directory / FILE_NAME).write_bytes(data)
    assert ToldFile(desk.directory).load() == {}
    load(desk, 2)
    assert Ear(desk).look().days == [3]


def test_a_file_that_cannot_be_written_is_told_and_no_reason_to_stop(desk, caplog):
    (desk.directory / "notices.new").mkdir()
    load(desk, 2)
    assert Ear(desk).look().days == [3]
    assert any("not written down" in each.message for each in caplog.records)


# --- the task ---


def test_what_changed_is_looked_at_soon_and_a_defect_ends_nothing(desk, monkeypatch, caplog):
    monkeypatch.setattr("clb.control.notices.SECOND", 0.001)
    ear = Ear(desk)
    looks = []
    looked = asyncio.Event()

    async def look():
        looks.append(1)
        looked.set()
        raise ZeroDivisionError if len(looks) == 1 else StoreAway("gone")

    monkeypatch.setattr(ear.notices, "look", look)

    async def run():
        task = asyncio.create_task(ear.notices.run())
        for change in (lambda: None, lambda: load(desk, 2), lambda: setattr(desk.node, "writer", None)):
            looked.clear()
            change()
            await asyncio.wait_for(looked.wait(), 10)
        await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(run())
    assert len(looks) == 3
    assert any(each.message == "notices failed" for each in caplog.records)
