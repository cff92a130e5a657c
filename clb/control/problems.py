"""Why a request was not done: problem details (RFC 9457), the one form of every answer of 400 and above.

Owns:      the fault that routes raise, and the body that it becomes.
Elsewhere: which fault an exception of another layer is (app.py); refusals before the app is asked (guard.py).
Pure:      values in, a body out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

PROBLEM_JSON: Final = "application/problem+json"
TYPE: Final = "urn:clb:problem:"
MOST_ERRORS: Final = 100
"""In one answer; a file may have thousands of faults."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong."""

    message: str
    """What is wrong, and what would be right."""
    where: str = ""
    """The object, such as `load balancer shop, listener https`; empty for the one that was asked for."""
    key: str = ""
    """Dotted path of the key, such as `health_check.interval`."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


class ApiFault(Exception):
    """A request that cannot be done; nothing was changed unless the code says otherwise."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        errors: Iterable[FieldProblem | str] = (),
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """`code` is a word that stays, `message` a sentence for people; `more` are further members of the body."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = tuple(each if isinstance(each, FieldProblem) else FieldProblem(each) for each in errors)
        self.headers = dict(headers or {})
        self.more = more


def problem(
    status: int, code: str, message: str, request_id: str, errors: Iterable[FieldProblem] = (), **more: Any
) -> dict[str, Any]:
    """The body of an answer."""
    return {
        "type": TYPE + code,
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": message,
        "instance": f"urn:clb:request:{request_id}",
        "code": code,
        "errors": [asdict(each) for each in tuple(errors)[:MOST_ERRORS]],
        **more,
    }
