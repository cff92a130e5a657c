"""The routes of certificates: what each answers, what each writes, and that no key comes back."""

from __future__ import annotations

import copy

import pytest
from certificate_desk import Desk, authority, good
from certificate_lab import ec_key, pem, rsa_key
from control_lab import outline

from clb.certificates.keyring import Keyring, new_secret
from clb.control.writer import CannotServe, Problem
from clb.store.inventory import Role

SITE = {
    "certificates": {
        "from-file": {"type": "server", "certificate": "web.pem", "private_key": "web.key"},
        "file-ca": {"type": "ca", "certificate": "ca.pem"},
    },
    "load_balancers": [
        {
            "name": "of-file",
            "listeners": [
                {
                    "name": "https",
                    "port": 8443,
                    "certificate": "from-file",
                    "rules": [
                        {"domain": "a.example", "default": True, "targets": [{"address": "10.0.0.1", "port": 80}]}
                    ],
                }
            ],
        }
    ],
}
PATH = "/v1/certificates"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, SITE, new_secret())


def code(response):
    body = response.json()
    return response.status_code, body["code"]


# --- upload ---


def test_upload(desk):
    response = desk.ask("POST", PATH, {"name": "shop", **good()})
    body = response.json()
    told = body["certificate"]
    assert response.status_code == 201
    assert response.headers["location"] == f"{PATH}/{told['id']}"
    assert response.headers["etag"] == '"1"'
    assert (told["name"], told["state"], told["owner"], told["generation"]) == ("shop", "active", "api", 1)
    assert (told["names"], told["key"], told["days_left"]) == (["shop.example", "*.shop.example"], "ECDSA P-256", 90)
    (stored,) = desk.inventory.certificates.values()
    assert (
        desk.holder.to_open().open(stored.material.sealed_key, stored.id, 1, stored.material.chain_pem).decode()
        == good()["private_key"]
    )
    (record,) = desk.store.audit_records
    assert (record.action, record.actor, record.request_id) == ("certificate.upload", "uid:0 (control socket)", "r-1")


def test_a_ca(desk):
    body = desk.ask("POST", PATH, {"name": "roots", **authority()}).json()
    assert (body["certificate"]["type"], body["certificate"]["names"]) == ("ca", [])
    (stored,) = desk.inventory.certificates.values()
    assert stored.material.sealed_key is None


REFUSED = {
    "key_mismatch": ({"private_key": pem(ec_key("else")).decode()}, 422, "key_mismatch"),
    "no_key": ({"private_key": None}, 422, "key_missing"),
    "no_pem": ({"certificate": "hello"}, 422, "not_pem"),
    "expired": (good(days=-1), 422, "expired"),
    "name_of_the_file": ({"name": "from-file"}, 409, "name_taken"),
    "bad_name": ({"name": "a b"}, 422, "invalid_input"),
    "unknown_field": ({"key": "x"}, 400, "invalid_input"),
}


@pytest.mark.parametrize(("change", "status", "word"), REFUSED.values(), ids=REFUSED)
def test_uploads_that_are_refused_change_nothing(desk, change, status, word):
    response = desk.ask("POST", PATH, {"name": "shop", **good(), **change})
    assert code(response) == (status, word)
    assert desk.inventory.certificates == {}
    assert desk.store.audit_records == []
    assert "PRIVATE KEY" not in response.text


def test_names_and_certificates_are_stored_once(desk):
    desk.upload("shop")
    assert code(desk.ask("POST", PATH, {"name": "shop", **good(ec_key("b"))})) == (409, "name_taken")
    assert code(desk.ask("POST", PATH, {"name": "twin", **good()})) == (422, "duplicate")


def test_a_wrong_key_names_the_certificate_that_it_belongs_to(desk):
    desk.upload("shop")
    other = good(ec_key("b"))
    response = desk.ask("POST", PATH, {"name": "new", **other, "private_key": good()["private_key"]})
    assert 'it is the key of certificate \\"shop\\"' in response.text


def test_the_first_key_makes_a_keyring(tmp_path):
    desk = Desk(tmp_path, SITE)
    desk.upload("shop")
    assert (tmp_path / "keyring").stat().st_mode & 0o777 == 0o600
    assert desk.holder.to_open().key_ids == Keyring.from_secret((tmp_path / "keyring").read_bytes()).key_ids


def test_no_keyring_is_made_beside_keys_that_it_does_not_open(tmp_path):
    desk = Desk(tmp_path, SITE, new_secret())
    desk.upload("shop")
    desk.holder._keyring = None
    response = desk.ask("POST", PATH, {"name": "new", **good(ec_key("b"))})
    assert code(response) == (409, "keyring_missing")
    assert not (tmp_path / "keyring").exists()


def test_a_ca_needs_no_keyring(tmp_path):
    desk = Desk(tmp_path, SITE)
    assert desk.ask("POST", PATH, {"name": "roots", **authority()}).status_code == 201
    assert not (tmp_path / "keyring").exists()


def test_an_idempotency_key_stores_once(desk):
    body = {"name": "shop", **good()}
    first = desk.ask("POST", PATH, body, idempotency_key="k")
    again = desk.ask("POST", PATH, body, idempotency_key="k")
    assert (again.status_code, again.json(), again.headers["etag"]) == (201, first.json(), first.headers["etag"])
    assert again.headers["idempotent-replay"] == "true"
    assert len(desk.inventory.certificates) == 1
    other = desk.ask("POST", PATH, {**body, "name": "else"}, idempotency_key="k")
    assert code(other) == (422, "idempotency_key_reused")
    assert "PRIVATE KEY" not in str(desk.store.replays)


def test_a_dry_run_stores_nothing(desk):
    response = desk.ask("POST", f"{PATH}?dry_run=true", {"name": "shop", **good()})
    assert (response.status_code, response.json()) == (200, {"dry_run": True, "changes": []})
    assert desk.inventory.certificates == {}


# --- reading ---


def test_list_has_those_of_file_and_store(desk):
    desk.upload("shop")
    told = desk.ask("GET", PATH).json()["certificates"]
    assert [(each["name"], each["owner"]) for each in told] == [
        ("file-ca", "file"),
        ("from-file", "file"),
        ("shop", "api"),
    ]
    assert told[1]["used_by"] == 1


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?name=shop", ["shop"]),
        ("?owner=api", ["shop"]),
        ("?type=ca", ["file-ca"]),
        ("?state=expired", []),
        ("?limit=1", ["file-ca"]),
        ("?limit=1&after=file-ca", ["from-file"]),
    ],
)
def test_filters_and_pages(desk, query, names):
    desk.upload("shop")
    assert [each["name"] for each in desk.ask("GET", PATH + query).json()["certificates"]] == names


def test_pages_lead_to_the_end(desk):
    desk.upload("shop")
    page = desk.ask("GET", f"{PATH}?limit=2").json()
    assert page["next"] == "from-file"
    assert desk.ask("GET", f"{PATH}?limit=2&after={page['next']}").json()["next"] is None


def test_show_has_the_chain_and_never_the_key(desk):
    made = desk.upload("shop")
    desk.bind("shop", "https", certificate="shop")
    response = desk.ask("GET", f"{PATH}/{made['id']}")
    assert response.headers["etag"] == '"1"'
    body = response.json()
    assert body["certificate"] == good()["certificate"]
    assert [(use["load_balancer"], use["listener"], use["owner"]) for use in body["uses"]] == [("shop", "https", "api")]
    assert "PRIVATE" not in response.text


def test_where(desk):
    assert desk.ask("GET", f"{PATH}/file-from-file/where").json()["uses"][0]["load_balancer"] == "of-file"
    assert code(desk.ask("GET", f"{PATH}/cert-none/where")) == (404, "not_found")


# --- check ---


def test_check_stores_nothing_and_tells_all(desk):
    response = desk.ask("POST", f"{PATH}/check", {"certificate": "x", "private_key": "x"})
    body = response.json()
    assert (response.status_code, body["ok"]) == (200, False)
    assert [(each["field"], each["code"]) for each in body["errors"]] == [
        ("private_key", "not_pem"),
        ("certificate", "not_pem"),
    ]
    fine = desk.ask("POST", f"{PATH}/check", good()).json()
    assert (fine["ok"], fine["names"], fine["state"]) == (True, ["shop.example", "*.shop.example"], "active")
    assert desk.inventory.certificates == {}


def test_check_as_a_replacement_looks_at_the_rules(desk):
    made = desk.upload("shop")
    desk.bind("shop", "https", domains=("shop.example", "else.example"), certificate="shop")
    body = desk.ask("POST", f"{PATH}/check", {**good(ec_key("b")), "replaces": made["id"]}).json()
    assert [each["code"] for each in body["warnings"]] == ["names_uncovered"]


# --- rename, removal ---


def test_rename_takes_listeners_of_the_store_along(desk):
    made = desk.upload("shop")
    one = desk.bind("shop", "https", certificate="shop")
    several = desk.bind("shop", "sni", sni=True, certificates=["other", "shop"])
    response = desk.ask("PATCH", f"{PATH}/{made['id']}", {"name": "web"}, if_match='"1"')
    assert (response.status_code, response.json()["certificate"]["name"]) == (200, "web")
    assert response.headers["etag"] == '"2"'
    entries = desk.inventory.entries
    assert (entries[one].document["certificate"], entries[one].version) == ("web", 2)
    assert entries[several].document["certificates"] == ["other", "web"]


def test_rename_is_refused_where_the_file_has_the_name(desk):
    made = desk.upload("shop")
    assert code(desk.ask("PATCH", f"{PATH}/{made['id']}", {"name": "from-file"}, if_match="*")) == (409, "name_taken")


def test_removal(desk):
    made = desk.upload("shop")
    desk.bind("shop", "https", certificate="shop")
    response = desk.ask("DELETE", f"{PATH}/{made['id']}", if_match='"1"')
    assert code(response) == (409, "certificate_bound")
    assert "load balancer shop, listener https" in response.text
    other = desk.upload("other", key=ec_key("b"))
    response = desk.ask("DELETE", f"{PATH}/{other['id']}", if_match='"1"')
    assert (response.status_code, response.content) == (204, b"")
    assert [each.name for each in desk.inventory.certificates.values()] == ["shop"]


OF_FILE = {
    "rename": ("PATCH", "", {"name": "x"}),
    "remove": ("DELETE", "", None),
    "replace": ("POST", "/replace", good()),
    "rollback": ("POST", "/rollback", None),
}


@pytest.mark.parametrize(("method", "path", "body"), OF_FILE.values(), ids=OF_FILE)
def test_the_file_s_own_are_left_alone(desk, method, path, body):
    assert code(desk.ask(method, f"{PATH}/file-from-file{path}", body, if_match="*")) == (409, "owned_by_file")
    assert code(desk.ask(method, f"{PATH}/cert-none{path}", body, if_match="*")) == (404, "not_found")


@pytest.mark.parametrize(("method", "path", "body"), OF_FILE.values(), ids=OF_FILE)
def test_a_write_names_the_version_that_it_knows(desk, method, path, body):
    made = desk.upload("shop")
    where = f"{PATH}/{made['id']}{path}"
    assert code(desk.ask(method, where, body)) == (428, "precondition_required")
    assert code(desk.ask(method, where, body, if_match='"2"')) == (412, "version_mismatch")
    assert code(desk.ask(method, where, body, if_match="1")) == (412, "version_mismatch")


# --- replace, rollback ---

OTHER = good(ec_key("b"))


def test_replace_and_roll_back(desk):
    made = desk.upload("shop")
    desk.bind("shop", "https", certificate="shop")
    desk.bind("api", "https2", certificate="shop")
    where = f"{PATH}/{made['id']}"
    response = desk.ask("POST", f"{where}/replace", OTHER, if_match='"1"')
    body = response.json()
    assert response.status_code == 200, body
    assert {use["load_balancer"] for use in body["swapped"]} == {"shop", "api"}
    told = body["certificate"]
    assert (told["generation"], told["version"], told["previous"]["state"]) == (2, 2, "replaced")
    assert told["previous"]["fingerprint"] == made["fingerprint"]
    (stored,) = desk.inventory.certificates.values()
    ring = desk.holder.to_open()
    assert (
        ring.open(stored.material.sealed_key, stored.id, 2, stored.material.chain_pem).decode() == OTHER["private_key"]
    )

    told = desk.ask("POST", f"{where}/rollback", if_match='"2"').json()["certificate"]
    assert (told["generation"], told["fingerprint"]) == (3, made["fingerprint"])
    (stored,) = desk.inventory.certificates.values()
    assert (
        ring.open(stored.material.sealed_key, stored.id, 3, stored.material.chain_pem).decode() == good()["private_key"]
    )
    assert (
        ring.open(stored.previous.sealed_key, stored.id, stored.previous_generation, stored.previous.chain_pem).decode()
        == OTHER["private_key"]
    )
    told = desk.ask("POST", f"{where}/rollback", if_match='"3"').json()["certificate"]
    assert (told["generation"], told["previous"]["generation"]) == (4, 3)
    assert [record.action for record in desk.store.audit_records] == [
        "certificate.upload", "certificate.replace", "certificate.rollback", "certificate.rollback",
    ]  # fmt: skip


def test_nothing_to_roll_back_to(desk):
    made = desk.upload("shop")
    assert code(desk.ask("POST", f"{PATH}/{made['id']}/rollback", if_match="*")) == (409, "no_previous")


def test_a_swap_that_would_break_clients_is_refused_by_name(desk):
    made = desk.upload("shop")
    desk.bind("shop", "https", certificate="shop")
    where = f"{PATH}/{made['id']}/replace"
    other = good(rsa_key())
    response = desk.ask("POST", where, other, if_match="*")
    assert code(response) == (409, "rehearsal_failed")
    assert "listener shop/https: clients with TLS 1.2 with ECDSA suites" in response.text
    forced = desk.ask("POST", where, {**other, "force": True}, if_match="*")
    assert forced.status_code == 200
    assert len(forced.json()["broken"]) == 4
    record = desk.store.audit_records[-1]
    assert len(record.after["forced_although"]) == 4


def test_unused_it_breaks_nobody(desk):
    made = desk.upload("shop")
    assert desk.ask("POST", f"{PATH}/{made['id']}/replace", good(rsa_key()), if_match="*").status_code == 200


def test_names_that_rules_use_are_kept(desk):
    made = desk.upload("shop")
    desk.bind("shop", "https", domains=("a.shop.example",), certificate="shop")
    narrow = good(ec_key("b"), names=("shop.example",))
    response = desk.ask("POST", f"{PATH}/{made['id']}/replace", narrow, if_match="*")
    assert code(response) == (409, "rehearsal_failed")
    assert "clients of a.shop.example" in response.text


def test_a_ca_is_replaced_for_its_clients(desk):
    made = desk.ask("POST", PATH, {"name": "roots", **authority()}).json()["certificate"]
    desk.upload("shop")
    desk.bind("shop", "https", certificate="shop", ssl_mode="mutual", ca_certificate="roots")
    other = {"certificate": authority("other")["certificate"]}
    response = desk.ask("POST", f"{PATH}/{made['id']}/replace", other, if_match="*")
    assert code(response) == (409, "rehearsal_failed")
    assert "clients with a certificate by CN=root" in response.text


def test_a_damaged_key_can_be_replaced_and_not_rolled_back_to(desk):
    from dataclasses import replace

    from clb.store.inventory import Write

    made = desk.upload("shop")
    desk.bind("shop", "https", certificate="shop")
    (stored,) = desk.inventory.certificates.values()
    sealed = replace(stored.material.sealed_key, sealed=stored.material.sealed_key.sealed[::-1])
    desk.put(Write(certificates=(replace(stored, material=replace(stored.material, sealed_key=sealed)),)))
    where = f"{PATH}/{made['id']}"
    assert desk.ask("POST", f"{where}/replace", good(rsa_key()), if_match="*").status_code == 200
    assert code(desk.ask("POST", f"{where}/rollback", if_match="*")) == (409, "key_damaged")


def test_going_back_to_what_expired_takes_force(desk):
    made = desk.upload("shop", days=2)
    where = f"{PATH}/{made['id']}"
    desk.ask("POST", f"{where}/replace", OTHER, if_match="*")
    desk.now += 3 * 86400
    assert code(desk.ask("POST", f"{where}/rollback", if_match="*")) == (422, "expired")
    told = desk.ask("POST", f"{where}/rollback", {"force": True}, if_match="*").json()["certificate"]
    assert (told["state"], told["forced"]) == ("expired", True)


def test_a_dry_replacement_is_rehearsed_and_changes_nothing(desk):
    made = desk.upload("shop")
    desk.bind("shop", "https", certificate="shop")
    where = f"{PATH}/{made['id']}/replace?dry_run=true"
    assert code(desk.ask("POST", where, good(rsa_key()), if_match="*")) == (409, "rehearsal_failed")
    assert desk.ask("POST", where, OTHER, if_match="*").json()["dry_run"] is True
    assert next(iter(desk.inventory.certificates.values())).generation == 1


# --- roles ---

ROLES = {
    "list": ("GET", "", None, Role.VIEWER),
    "show": ("GET", "/file-from-file", None, Role.VIEWER),
    "check": ("POST", "/check", good(), Role.OPERATOR),
    "upload": ("POST", "", {"name": "x", **good()}, Role.ADMIN),
    "replace": ("POST", "/x/replace", good(), Role.OPERATOR),
    "rollback": ("POST", "/x/rollback", None, Role.OPERATOR),
    "rename": ("PATCH", "/x", {"name": "y"}, Role.ADMIN),
    "remove": ("DELETE", "/x", None, Role.ADMIN),
}


@pytest.mark.parametrize(("method", "path", "body", "needed"), ROLES.values(), ids=ROLES)
def test_roles(desk, method, path, body, needed):
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    for role in order:
        forbidden = desk.ask(method, PATH + path, body, role, if_match="*").status_code == 403
        assert forbidden == (order.index(role) < order.index(needed))


# --- the keyring ---


def test_the_keyring_is_shown_by_ids(desk):
    desk.upload("shop")
    body = desk.ask("GET", "/v1/keyring").json()
    assert body["loaded"] is True
    assert body["keys"] == [{"id": desk.holder.to_open().current, "current": True, "present": True, "sealed": 1}]


def test_rewrapping(desk, tmp_path):
    from clb.certificates.keyring import with_current_key_only, with_new_key
    from clb.config.models import Keyring as Source

    secret = new_secret()
    desk.holder.take(Source(), secret)
    made = desk.upload("shop")
    desk.ask("POST", f"{PATH}/{made['id']}/replace", OTHER, if_match="*")
    both = with_new_key(secret)
    desk.holder.take(Source(), both)
    keys = desk.ask("GET", "/v1/keyring").json()["keys"]
    assert [key["sealed"] for key in keys] == [0, 2]
    body = desk.ask("POST", "/v1/keyring/rewrap").json()
    assert (body["moved"], body["left"]) == (2, [])
    assert desk.ask("POST", "/v1/keyring/rewrap").json()["moved"] == 0
    desk.holder.take(Source(), with_current_key_only(both))
    assert [key["sealed"] for key in desk.ask("GET", "/v1/keyring").json()["keys"]] == [2]
    told = desk.ask("POST", f"{PATH}/{made['id']}/rollback", if_match='"2"').json()["certificate"]
    assert told["fingerprint"] == made["fingerprint"]


def test_rewrapping_leaves_what_does_not_open(desk):
    from clb.config.models import Keyring as Source

    desk.upload("shop")
    desk.holder.take(Source(), new_secret())
    body = desk.ask("POST", "/v1/keyring/rewrap").json()
    assert body["moved"] == 0
    assert body["left"][0].startswith("shop (cert-")
    assert [(key["present"], key["sealed"]) for key in desk.ask("GET", "/v1/keyring").json()["keys"]] == [
        (True, 0),
        (False, 1),
    ]


DAMAGED_CHAINS = {
    "cut": lambda pem: pem[:-40],
    "no_text": lambda pem: pem.replace("A", "\ufffd", 1),
    "empty": lambda _: "",
}


@pytest.mark.parametrize("damage", DAMAGED_CHAINS.values(), ids=DAMAGED_CHAINS)
def test_a_damaged_record_is_shown_as_such_and_can_be_replaced(desk, damage):
    from dataclasses import replace

    from clb.store.inventory import Write

    made = desk.upload("shop")
    desk.upload("fine", key=ec_key("c"))
    desk.bind("shop", "https", certificate="shop")
    stored = desk.inventory.certificates[made["id"]]
    broken = replace(stored.material, chain_pem=damage(stored.material.chain_pem))
    desk.put(Write(certificates=(replace(stored, material=broken),)))
    told = {each["name"]: each for each in desk.ask("GET", f"{PATH}?owner=api").json()["certificates"]}
    assert (told["fine"]["state"], told["fine"]["quarantined"]) == ("active", None)
    assert (told["shop"]["state"], told["shop"]["quarantined"]) == (None, "its stored text is damaged")
    assert desk.ask("GET", f"{PATH}/{made['id']}").status_code == 200
    assert desk.ask("POST", f"{PATH}/{made['id']}/replace", OTHER, if_match="*").status_code == 200


# --- stored ones that the file gives a name ---


@pytest.fixture
def aliased(desk):
    """The file calls it `alias`, and a listener of the file shows it."""
    from dataclasses import replace

    from clb.service.bundle import CertificateFacts

    made = desk.upload("shop")
    site = copy.deepcopy(SITE)
    site["certificates"]["alias"] = {"type": "server", "stored": made["id"]}
    site["load_balancers"][0]["listeners"][0]["certificate"] = "alias"
    found = outline(site)
    assert all(isinstance(facts, CertificateFacts) for facts in found.certificates.values())
    desk.node.outline = replace(found, aliases=frozenset({"alias"}))
    return made


def test_an_alias_is_no_certificate_of_its_own(desk, aliased):
    told = desk.ask("GET", PATH).json()["certificates"]
    assert [each["name"] for each in told] == ["file-ca", "from-file", "shop"]
    uses = desk.ask("GET", f"{PATH}/{aliased['id']}/where").json()["uses"]
    assert [(use["load_balancer"], use["owner"]) for use in uses] == [("of-file", "file")]


def test_an_alias_does_not_mind_another_name(desk, aliased):
    where = f"{PATH}/{aliased['id']}"
    assert desk.ask("PATCH", where, {"name": "web"}, if_match="*").status_code == 200


def test_a_swap_is_rehearsed_on_listeners_of_the_file(desk, aliased):
    response = desk.ask("POST", f"{PATH}/{aliased['id']}/replace", good(rsa_key()), if_match="*")
    assert code(response) == (409, "rehearsal_failed")
    assert "listener of-file/https" in response.text


def test_what_the_file_declares_is_not_removed(desk, aliased):
    from dataclasses import replace

    config = desk.node.outline.config.model_copy(update={"load_balancers": ()})
    assert code(desk.ask("DELETE", f"{PATH}/{aliased['id']}", if_match="*")) == (409, "certificate_bound")
    desk.node.outline = replace(desk.node.outline, config=config)
    response = desk.ask("DELETE", f"{PATH}/{aliased['id']}", if_match="*")
    assert code(response) == (409, "named_by_file")
    assert "certificates.alias" in response.text


def test_what_no_worker_can_serve_is_refused_and_named(desk, monkeypatch):
    made = desk.upload("shop")

    async def apply(before, after, commit):
        raise CannotServe([Problem("load balancer shop, listener https", "certificate", "its key is too small")])

    monkeypatch.setattr(desk.node.writer._applier, "apply", apply)
    response = desk.ask("POST", f"{PATH}/{made['id']}/replace", OTHER, if_match="*")
    assert code(response) == (422, "refused")
    assert response.json()["errors"] == [
        {"message": "its key is too small", "where": "load balancer shop, listener https", "key": "certificate"}
    ]
    assert desk.inventory.certificates[made["id"]].generation == 1
