"""Unknown, missing and misplaced keys, in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

CASES = {
    "misspelt": ("nod: {}", ['1:1: nod: unknown key; did you mean "node"?']),
    "capital": ("Node: {}", ['1:1: Node: unknown key; did you mean "node"?']),
    "far_off": (
        "xyz: {}",
        [
            "1:1: xyz: unknown key; the keys here are node, admin, store, keyring, notify, ledger, certificates, "
            "load_balancers"
        ],
    ),
    "belongs_below": ("state_dir: x", ['1:1: state_dir: unknown key here; it belongs under "node"']),
    "belongs_above": (
        "node: {\n  load_balancers: []}",
        ['2:3: node.load_balancers: unknown key here; it belongs beside "node", further out'],
    ),
    "missing": (
        "certificates:\n  web:\n    type: ca\n",
        ["3:5: certificates.web.certificate: is missing; it has no default"],
    ),
    "misspelt_is_not_missing_as_well": (
        "certificates:\n  web:\n    type: ca\n    certficate: x.pem\n",
        ['4:5: certificates.web.certficate: unknown key; did you mean "certificate"?'],
    ),
    "key_itself": (
        "certificates:\n  '?': {type: ca, certificate: x}\n",
        ['2:3: certificates.?: "?" is no name; write 1 to 80 of a-z A-Z 0-9 . _ -, a letter or digit first'],
    ),
    "not_a_mapping": ("node: 3", ['1:7: node: is 3; write a mapping ("key: value" lines)']),
    "nothing": ("node:\nadmin: {}", ['1:6: node: has no value; write a mapping ("key: value" lines)']),
    "not_a_list": ("load_balancers: {}", ['1:17: load_balancers: is a mapping; write a list ("- " before each item)']),
    "item_not_a_mapping": (
        "load_balancers:\n  - shop",
        ['2:5: load_balancers[0]: is "shop"; write a mapping ("key: value" lines)'],
    ),
    "listener_not_a_mapping": (
        "load_balancers:\n  - listeners: [https]",
        ['2:17: load_balancers[0].listeners[0]: is "https"; write a mapping ("key: value" lines)'],
    ),
    "document_is_a_list": ("- node", ['1:1: the document is not a mapping; it starts with a key such as "node:"']),
    "document_is_text": ("node", ['1:1: the document is not a mapping; it starts with a key such as "node:"']),
    "strange_key_is_shown_printable": (
        '"a\\tb\\e": 1',
        [
            "1:1: a\\tb\\x1b: unknown key; the keys here are node, admin, store, keyring, notify, ledger, "
            "certificates, load_balancers"
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_translation(faults: Callable[[str], list[str]], text: str, expected: list[str]) -> None:
    assert faults(text) == expected
