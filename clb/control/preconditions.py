"""ETag and If-Match: a write says which version of a thing it was decided on.

Owns:      the form of an ETag, 428 without If-Match, 412 for another version.
Elsewhere: versions (store/inventory.py).
Pure:      a version and a field in, nothing or an ApiFault out.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

from clb.control.problems import ApiFault

IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=200, description='The ETag of what is changed, or "*" for any.')
]


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def check_if_match(given: str | None, version: int) -> None:
    """See that the client saw this version.

    Raises:
        ApiFault: it saw another one (412), or does not say (428).
    """
    if given is None:
        message = f"send If-Match with the ETag that this change was decided on; it is {etag(version)} now"
        raise ApiFault(428, "precondition_required", message)
    tags = [tag.strip() for tag in given.split(",")]
    if "*" not in tags and etag(version) not in tags:
        message = f"somebody changed it meanwhile; its ETag is {etag(version)} now"
        raise ApiFault(412, "version_mismatch", message, headers={"etag": etag(version)})
