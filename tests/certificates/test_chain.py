"""The order of a chain: wrong order, gaps and broken signatures are told apart."""

from __future__ import annotations

import pytest
from certificate_lab import certificate, ec_key
from cryptography import x509

from clb.certificates.chain import check_chain
from clb.certificates.faults import CertificateFault

ROOT_KEY, UPPER_KEY, LOWER_KEY = ec_key("root"), ec_key("upper"), ec_key("lower")
ROOT = certificate("root", ROOT_KEY, ca=True)
UPPER = certificate("upper", UPPER_KEY, ("root", ROOT_KEY), ca=True)
LOWER = certificate("lower", LOWER_KEY, ("upper", UPPER_KEY), ca=True)
LEAF = certificate("leaf", ec_key("leaf"), ("lower", LOWER_KEY))
ALONE = certificate("alone", ec_key("leaf"))
RENEWED = certificate("lower", ec_key("other"), ("upper", UPPER_KEY), ca=True)
STRANGER = certificate("stranger", ec_key("other"), ca=True)

SOUND = {
    "self_signed": [ALONE],
    "without_root": [LEAF, LOWER, UPPER],
    "with_root": [LEAF, LOWER, UPPER, ROOT],
    "upper_part_left_out": [LEAF, LOWER],
}
GAPS = {
    "leaf_alone": ([LEAF], "the issuer of block 1, CN=lower, is not in the file"),
    "lower_missing": ([LEAF, UPPER, ROOT], "the issuer of block 1, CN=lower, is not in the file"),
    "upper_missing": ([LEAF, LOWER, ROOT], "the issuer of block 2, CN=upper, is not in the file"),
}
WRONG = {
    "swapped": (
        [LEAF, UPPER, LOWER],
        "chain_order",
        "block 2 (CN=upper) did not issue block 1, block 3 did; put block 3 directly after block 1",
    ),
    "root_in_the_middle": ([LEAF, LOWER, ROOT, UPPER], "chain_order", "put block 4 directly after block 2"),
    "leaf_twice": ([LEAF, LEAF, LOWER], "chain_order", "block 2 repeats block 1 (CN=leaf); remove one of them"),
    "behind_the_root": ([ALONE, LOWER], "chain_order", "block 1 (CN=alone) is a root, yet block 2 follows"),
    "renewed_issuer": ([LEAF, RENEWED], "chain_broken", "block 2 (CN=lower) is named as the issuer of block 1 but did"),
    "stranger_behind_root": ([LEAF, LOWER, UPPER, ROOT, STRANGER], "chain_order", "block 4 (CN=root) is a root, yet"),
}


@pytest.mark.parametrize("chain", SOUND.values(), ids=SOUND)
def test_sound(chain: list[x509.Certificate]) -> None:
    assert check_chain(chain) == []


@pytest.mark.parametrize(("chain", "message"), GAPS.values(), ids=GAPS)
def test_gap(chain: list[x509.Certificate], message: str) -> None:
    (remark,) = check_chain(chain)
    assert (remark.code, remark.message) == ("missing_intermediate", message)


@pytest.mark.parametrize(("chain", "code", "message"), WRONG.values(), ids=WRONG)
def test_wrong(chain: list[x509.Certificate], code: str, message: str) -> None:
    with pytest.raises(CertificateFault) as caught:
        check_chain(chain)
    assert caught.value.code == code
    assert message in str(caught.value)
