"""Which certificate serves a name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from clb.tls.server_names import default_group, group_by_name, name_table


@dataclass(frozen=True)
class Certificate:
    names: tuple[str, ...]
    key_type: str = "RSA"


SHOP = Certificate(("Shop.Example.com", "*.shop.example.com"))
SHOP_ECDSA = Certificate(("shop.example.com",), "ECDSA")
OLD_SHOP = Certificate(("shop.example.com",))
WILD = Certificate(("*.example.com",))
NAMELESS = Certificate(())
ALL = [SHOP, SHOP_ECDSA, OLD_SHOP, WILD, NAMELESS]


def table(certificates):
    groups = group_by_name(certificates)
    entries = {group: group for group in groups.values()}
    default = default_group(certificates, groups)
    return name_table(groups, {**entries, default: default}, default)


NAMES = {
    "exact_of_both_kinds": ("shop.example.com", (SHOP, SHOP_ECDSA)),
    "case_and_dot": ("SHOP.example.COM.", (SHOP, SHOP_ECDSA)),
    "wildcard": ("www.example.com", (WILD,)),
    "nearer_wildcard": ("a.shop.example.com", (SHOP,)),
    "one_label_only": ("a.b.example.com", None),
    "not_the_bare_name": ("example.com", None),
    "unknown": ("other.test", None),
}


@pytest.mark.parametrize(("name", "expected"), NAMES.values(), ids=NAMES)
def test_find(name, expected):
    assert table(ALL).find(name) == expected


def test_the_default_is_the_first_with_its_companion():
    assert table(ALL).default == (SHOP, SHOP_ECDSA)
    assert table([NAMELESS, SHOP]).default == (NAMELESS,)
