"""The OpenAPI document, completed with what every operation has in common.

Owns:      problem details as the form of every fault; the statuses that guard and app add; roles; examples of answers;
           no schemas of forms that nobody answers.
Elsewhere: each operation's own faults (its route); FastAPI makes all else.
Pure:      a document in, a document out.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from clb.control.access import ROLE_EXTENSION, SECURITY_SCHEME
from clb.control.answer_examples import EXAMPLES
from clb.control.models import ErrorAnswer
from clb.control.problems import PROBLEM_JSON

_ALWAYS: Final = (400, 503)
"""Input that is no input of this path; a node that starts, ends, or has too much to do."""
_WITH_CREDENTIAL: Final = (401, 403, 421, 429)
_WITH_BODY: Final = (408, 413)
_PROBLEM: Final = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
_NO_HTTP: Final = {"text/plain": {"schema": {"type": "string"}}}
"""What the HTTP server itself answers, whatever the path: a head that is no HTTP or too long."""
_OF_THE_FRAMEWORK: Final = ("HTTPValidationError", "ValidationError")


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Say of every operation what it answers when it does not do what it is asked for, and who may ask."""
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            _complete(operation)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _OF_THE_FRAMEWORK:
        schemas.pop(name, None)
    if "ErrorAnswer" not in schemas:
        shape = ErrorAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(shape.pop("$defs", {}))
        schemas["ErrorAnswer"] = shape
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    return document


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        # It says so wherever there is input: right in form, and yet nothing that can be done.
        responses["422"] = {"description": HTTPStatus(422).phrase}
    wanted = list(_ALWAYS)
    for requirement in operation.get("security", ()):
        if requirement.get(SECURITY_SCHEME):
            operation[ROLE_EXTENSION] = requirement[SECURITY_SCHEME][0]
            wanted += _WITH_CREDENTIAL
    if "requestBody" in operation:
        wanted += _WITH_BODY
    for status in wanted:
        responses.setdefault(str(status), {"description": HTTPStatus(status).phrase})
    for status, response in responses.items():
        if status >= "400" and not _has_own_form(response):
            response["content"] = {**_PROBLEM, **_NO_HTTP} if status == "400" else _PROBLEM
    operation["responses"] = dict(sorted(responses.items()))


def _has_own_form(response: dict[str, Any]) -> bool:
    """Whether a status has a body of its own, as `/readyz` that is not ready."""
    return any("ErrorAnswer" not in str(each) for each in response.get("content", {}).values())
