"""Make malformed variants of a configuration file, the same ones on every run.

Owns:      mutations of bytes, of lines and of the structure.
Elsewhere: what must hold for them (test_malformed.py).
Pure:      a seeded random source in, bytes out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

# What hand-made files have: tabs, stray quotes, wrong types, control characters, other encodings, signs of YAML.
_TOKENS = [
    b"\t",
    b"'",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"!!python/object:os.system ",
    b"|",
    b">",
    b"%",
    b"@",
    b"`",
    b"#",
    b"---\n",
    b"...\n",
    b"<<: ",
    b"? ",
    b"\x00",
    b"\xff",
    b"\xc3\xa4",
    b"\xe2\x80\xa8",
    b"\r",
    b"~",
    b"null",
    b"true",
    b"-1",
    b"9" * 40,
    b"1.5",
    b".inf",
    b"0x1F",
    b"1:30",
    b"2026-01-01",
    b"4s",
    b"64KiB",
    b"x" * 300,
    b"~(a+)+$",
    b"~[",
    b"~(?x)#)",
    b"*.*",
    b"::1",
    b"10.0.0.1/8",
    b"mutual",
    b"http",
    b"/../",
]


def variants(original: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` variants, each by one to three mutations."""
    source = random.Random(seed)
    for _ in range(count):
        data = original
        for _ in range(source.randint(1, 3)):
            data = source.choice(_MUTATIONS)(data, source)
        yield data


def _flip_byte(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data) or 1)
    return data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]


def _insert_token(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + source.choice(_TOKENS) + data[at:]


def _cut(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + data[at + source.randrange(40) :]


def _truncate(data: bytes, source: random.Random) -> bytes:
    return data[: source.randrange(len(data) + 1)]


def _on_lines(change: Callable[[list[bytes], int, random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    def mutate(data: bytes, source: random.Random) -> bytes:
        lines = data.split(b"\n")
        change(lines, source.randrange(len(lines)), source)
        return b"\n".join(lines)

    return mutate


def _remove_line(lines: list[bytes], at: int, _: random.Random) -> None:
    del lines[at]


def _repeat_line(lines: list[bytes], at: int, _: random.Random) -> None:
    lines.insert(at, lines[at])


def _swap_lines(lines: list[bytes], at: int, source: random.Random) -> None:
    other = source.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


def _shift_line(lines: list[bytes], at: int, source: random.Random) -> None:
    lines[at] = b" " * source.randint(1, 4) + lines[at] if source.random() < 0.5 else lines[at][source.randint(1, 4) :]


def _replace_value(lines: list[bytes], at: int, source: random.Random) -> None:
    key, colon, _ = lines[at].partition(b":")
    lines[at] = key + colon + b" " + source.choice(_TOKENS)


def _misspell_key(lines: list[bytes], at: int, source: random.Random) -> None:
    line = lines[at]
    letter = source.randrange(len(line) or 1)
    lines[at] = line[:letter] + bytes([source.choice(b"abcdefghij_-.")]) + line[letter + 1 :]


_MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    _flip_byte,
    _insert_token,
    _cut,
    _truncate,
    _on_lines(_remove_line),
    _on_lines(_repeat_line),
    _on_lines(_swap_lines),
    _on_lines(_shift_line),
    _on_lines(_replace_value),
    _on_lines(_replace_value),
    _on_lines(_misspell_key),
]
