"""The grammar of domains and URLs in rules, and of host names anywhere.

Owns:      what a rule may say it matches (the model's section 3), and the bounds of regular expressions.
Elsewhere: matching a request against it (routing/).
Pure:      text in, normalised text out; ValueError says what would be right.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import warnings
from functools import lru_cache

from clb.config.faults import quote

LONGEST_DOMAIN = 80
LONGEST_URL = 200

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_URL_CHARACTERS = re.compile(r"[a-zA-Z0-9.\-_/=?:]+", re.ASCII)
_PATH_CHARACTERS = re.compile(r"[!-~]+", re.ASCII)
_VERBOSE = re.compile(r"\(\?(?:#|[a-zA-Z]*x)", re.ASCII)
_QUANTIFIER = re.compile(r"[*+]|\{[0-9]*,?[0-9]*\}", re.ASCII)


def host_name(value: str) -> str:
    """A DNS name in lower case; what people paste instead gets its own answer."""
    if "://" in value:
        raise ValueError(f"{quote(value)} is a URL; write the host name only")
    if not value.isascii():
        raise ValueError(f"{quote(value)} is not ASCII{_punycode_hint(value)}")
    name = value.lower()
    host, colon, port = name.rpartition(":")
    if colon and port.isdigit():
        raise ValueError(f"{quote(value)} has a port; write {quote(host)} and the port where it belongs")
    labels = name.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(name) > 253:
        raise ValueError(f'{quote(value)} is not a host name; write one such as "app.example.com"')
    return name


@lru_cache(maxsize=4096)
def host(value: str) -> str:
    """An IP address in its usual spelling, or a host name."""
    try:
        return ip_address(value)
    except ValueError:
        name = host_name(value)
    if name.rpartition(".")[2].isdigit():
        # "10.0.0.256" and "1.2.3" are addresses gone wrong; no top-level domain is a number.
        raise ValueError(f'{quote(value)} is not an IP address; write one such as "10.0.0.5"')
    return name


def ip_address(value: str) -> str:
    """An IP address in its usual spelling."""
    bare = value.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise ValueError(f'{quote(value)} is not an IP address; write one such as "0.0.0.0" or "::"') from None


def network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network in CIDR notation; a single address is a network of one."""
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f'{quote(value)} is not a network; write one such as "10.0.0.0/8"') from None
    raise ValueError(f"{quote(value)} has bits set behind its prefix; did you mean {meant}?")


def domain(value: str) -> str:
    """`shop.example.com`, `*.example.com`, `www.example.*` or `~regex`."""
    if not 1 <= len(value) <= LONGEST_DOMAIN:
        raise ValueError(f"a domain has 1 to {LONGEST_DOMAIN} characters, this one has {len(value)}")
    if value.startswith("~"):
        regular_expression(value[1:])
        return value
    if value == "*":
        raise ValueError('"*" alone is no domain; name one and set "default: true" to catch all others')
    if value.startswith("_"):
        raise ValueError(f"{quote(value)} starts with an underscore, which a domain must not")
    plain = value.removeprefix("*.") if value.startswith("*.") else value.removesuffix(".*")
    if "*" in plain:
        raise ValueError(
            f'{quote(value)} has its "*" elsewhere; one stands for the first or the last part: "*.x" or "x.*"'
        )
    try:
        host_name(plain)
    except ValueError as error:
        raise ValueError(str(error).replace(quote(plain), quote(value))) from None
    if value.endswith("."):
        raise ValueError(f"{quote(value)} ends with a dot; write it without")
    return value.lower()


def url(value: str) -> str:
    """`/prefix`, `=/exact`, `^~/prefix`, `~regex` or `~*regex`."""
    if not 1 <= len(value) <= LONGEST_URL:
        raise ValueError(f"a URL has 1 to {LONGEST_URL} characters, this one has {len(value)}")
    if value.startswith("~"):
        regular_expression(value.removeprefix("~").removeprefix("*"))
        return value
    path = plain_path(value)
    if "://" in path:
        raise ValueError(f"{quote(value)} is more than a path; the host belongs into domain")
    if not path.startswith("/"):
        raise ValueError(
            f'{quote(value)} does not start with "/"; write "/path", "=/path", "^~/path", "~regex" or "~*regex"'
        )
    if not _URL_CHARACTERS.fullmatch(path):
        raise ValueError(f'{quote(value)} has characters other than a-z A-Z 0-9 . - _ / = ? : (use a "~regex")')
    if "?" in path:
        raise ValueError(
            f"{quote(value)} would never match: the query is not compared; end it before the question mark"
        )
    if normal_path(path) != path:
        raise ValueError(
            f"{quote(value)} would never match: paths are normalised first; write {quote(normal_path(path))}"
        )
    return value


def plain_path(value: str) -> str:
    """A URL pattern without its modifier."""
    return value.removeprefix("^~") if value.startswith("^~") else value.removeprefix("=")


def normal_path(path: str) -> str:
    """The path as routing compares it: no `.`, `..` or empty segments."""
    normal = posixpath.normpath("/" + path.lstrip("/"))
    directory = path.endswith(("/", "/.", "/..")) and normal != "/"
    return f"{normal}/" if directory else normal


def target_path(value: str) -> str:
    """A path to request or to redirect to: printable ASCII, so that it can stand in a header as it is."""
    if not 1 <= len(value) <= LONGEST_URL:
        raise ValueError(f"a path has 1 to {LONGEST_URL} characters, this one has {len(value)}")
    if not value.startswith("/"):
        raise ValueError(f'{quote(value)} does not start with "/"')
    if value.startswith("//"):
        raise ValueError(f'{quote(value)} starts with "//", which a browser reads as a host; write one "/"')
    if not _PATH_CHARACTERS.fullmatch(value) or "#" in value:
        raise ValueError(f"{quote(value)} has spaces, non-ASCII characters or a #; percent-encode them")
    return value


def regular_expression(pattern: str) -> re.Pattern[str]:
    """A pattern that compiles and cannot take exponential time on what a client sends."""
    if not pattern:
        raise ValueError('a regular expression follows the "~"; it is empty')
    if not pattern.isascii() or not pattern.isprintable():
        raise ValueError("a regular expression is printable ASCII; write other bytes as \\xNN")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python warns of means something else than it looks like
            compiled = re.compile(pattern, re.ASCII)
    except re.error as error:
        at = f" at character {error.pos + 1}" if error.pos is not None else ""
        raise ValueError(f"{quote(pattern)} is not a regular expression: {error.msg}{at}") from None
    except (Warning, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"{quote(pattern)} is not a regular expression clb accepts: {error}") from None
    if _VERBOSE.search(pattern):
        raise ValueError(f"{quote(pattern)} has a comment or the flag x; write it without")
    if _repeats_a_repeat(pattern):
        raise ValueError(
            f"{quote(pattern)} repeats a group that itself repeats or branches, which a client could make "
            'take for ever; write "[a-z.]+" in place of "([a-z]+.)+"'
        )
    return compiled


def _repeats_a_repeat(pattern: str) -> bool:
    """Whether a quantified group holds a quantifier or an alternation, at any depth.

    Stricter than needed (some such patterns are harmless), but it can be explained in one sentence.
    """
    groups = [False]  # for each open group: does it vary inside?
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 2
            continue
        if character == "[":
            at = _end_of_class(pattern, at)
            continue
        quantifier = _QUANTIFIER.match(pattern, at)
        if character == "(":
            groups.append(False)
        elif character == ")":
            varies = groups.pop()
            repeated = _QUANTIFIER.match(pattern, at + 1)
            if varies and repeated:
                return True
            groups[-1] |= varies or repeated is not None
        elif character == "|" or quantifier:
            groups[-1] = True
        at += 1
    return False


def _end_of_class(pattern: str, at: int) -> int:
    at += 1
    if pattern.startswith("^", at):
        at += 1
    if pattern.startswith("]", at):  # the first one is a member
        at += 1
    while pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1


def _punycode_hint(value: str) -> str:
    try:
        return f"; write {quote(value.encode('idna').decode('ascii'))}"
    except UnicodeError:
        return "; write its xn-- form"
