"""Problem details: one form for whatever goes wrong (RFC 9457)."""

from __future__ import annotations

import pytest

from clb.control.problems import MOST_ERRORS, ApiFault, FieldProblem, problem


def test_the_members_of_a_body():
    body = problem(422, "not_sound", "nothing was changed", "req-1", [FieldProblem("is 0", "rule a /", "weight")])
    assert body == {
        "type": "urn:clb:problem:not_sound",
        "title": "Not sound",
        "status": 422,
        "detail": "nothing was changed",
        "instance": "urn:clb:request:req-1",
        "code": "not_sound",
        "errors": [{"message": "is 0", "where": "rule a /", "key": "weight"}],
    }


def test_thousands_of_errors_are_cut_short():
    assert len(problem(422, "a", "b", "c", [FieldProblem("x")] * 5000)["errors"]) == MOST_ERRORS


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FieldProblem("is 0"), "is 0"),
        (FieldProblem("is 0", key="weight"), "weight: is 0"),
        (FieldProblem("is 0", "rule a /", "weight"), "rule a /: weight: is 0"),
    ],
)
def test_an_error_as_a_line(error: FieldProblem, line: str):
    assert str(error) == line


def test_plain_lines_are_errors_without_a_place():
    assert ApiFault(422, "refused", "no", ["a.yaml:1:1: wrong"]).errors == (FieldProblem("a.yaml:1:1: wrong"),)
