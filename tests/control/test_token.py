"""The management token: made once, read anew when it is replaced, refused when it is none."""

from __future__ import annotations

import pytest

from clb.control.token import AdminToken, TokenFault


def test_it_is_made_once_and_private(tmp_path):
    AdminToken(tmp_path).ensure()
    path = tmp_path / "admin.token"
    made = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(made.strip()) >= 43
    AdminToken(tmp_path).ensure()
    assert path.read_text() == made


def test_a_replaced_file_is_taken_up(tmp_path):
    token = AdminToken(tmp_path)
    token.ensure()
    old = b"Bearer " + token.path.read_bytes().strip()
    assert token.matches(old)
    assert token.matches(old.replace(b"Bearer", b"bearer"))
    new = tmp_path / "new"
    new.write_text("n" * 40 + "\n")
    new.chmod(0o600)
    new.rename(token.path)
    assert not token.matches(old)
    assert token.matches(b"Bearer " + b"n" * 40)


FAULTS = {
    "short": ("x" * 31, 0o600, "not 32 to 512 visible"),
    "long": ("x" * 600, 0o600, "not 32 to 512 visible"),
    "empty": ("", 0o600, "not 32 to 512 visible"),
    "inner_space": ("x" * 20 + " " + "x" * 20, 0o600, "not 32 to 512 visible"),
    "readable": ("x" * 40, 0o640, "others may read it"),
}


@pytest.mark.parametrize(("content", "mode", "text"), FAULTS.values(), ids=FAULTS)
def test_a_file_that_is_no_token(tmp_path, content, mode, text):
    path = tmp_path / "admin.token"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(TokenFault, match=text) as caught:
        AdminToken(tmp_path).ensure()
    assert content == "" or content not in str(caught.value)


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(TokenFault, match="No such file"):
        AdminToken(tmp_path / "nowhere").ensure()
    with pytest.raises(TokenFault, match="No such file"):
        AdminToken(tmp_path / "nowhere").matches(b"Bearer x")
