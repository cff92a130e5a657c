"""Points in time as clients of the API write them: RFC 3339, and nothing that only looks like one to a lenient reader.

Owns:      the type of such a parameter.
Pure:      text in, a time with a zone out.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

_FORM = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.ASCII)


def _text(value: object) -> object:
    # Numbers would be taken for seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and _FORM.fullmatch(value)):
        return value
    raise ValueError("write a time such as 2026-11-25T10:00:00Z")


Instant = Annotated[AwareDatetime, BeforeValidator(_text)]
"""Of a query or a body."""
