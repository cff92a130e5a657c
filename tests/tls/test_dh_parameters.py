import base64

from clb.tls.dh_parameters import FFDHE2048_PEM

# RFC 7919 appendix A.1: p = 2^2048 - 2^1984 + {[2^1918 * e] + 560316} * 2^64 - 1, generator 2.
E_DIGITS = 700


def e_times_two_to(power: int) -> int:
    """floor(2^power * e), by the series with enough guard bits."""
    guard = 64
    term = total = 1 << (power + guard)
    for divisor in range(1, E_DIGITS):
        term //= divisor
        total += term
    return total >> guard


def test_is_ffdhe2048():
    prime = 2**2048 - 2**1984 + (e_times_two_to(1918) + 560316) * 2**64 - 1
    # SEQUENCE of two INTEGERs in DER, spelled out: cryptography is giving up finite-field groups.
    expected = bytes.fromhex("30820108 0282010100") + prime.to_bytes(256) + bytes.fromhex("020102")
    assert base64.b64decode(b"".join(FFDHE2048_PEM.splitlines()[1:-1])) == expected
