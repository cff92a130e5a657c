"""The management app: FastAPI, with one form for every error.

Owns:      making the app; what an unforeseen failure tells (nothing but that there is a log).
Elsewhere: routes (routes.py); who may ask (guard.py). The certificates issue adds its own routers here.
Shell:     imported in the control process only; the others do without FastAPI's 15 MiB.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from clb import __version__
from clb.control.access import check_roles, show_roles
from clb.control.audit_routes import build_audit_router
from clb.control.certificates import certificate_routes
from clb.control.export_route import export_routes
from clb.control.guard import error_body
from clb.control.keyring_routes import keyring_routes
from clb.control.node import Node
from clb.control.routes import ApiFault, Exposition, build_router
from clb.control.token_routes import build_token_router
from clb.control.tokens import TokenBook
from clb.control.writer import NodeBusy
from clb.store.interface import OutcomeUnknown, StoreAway

_MOST_DETAILS = 20
_CODES = {404: ("not_found", "there is nothing at this path"), 405: ("method_not_allowed", "not with this method")}

_logger = logging.getLogger(__name__)


def create_app(node: Node, exposition: Exposition, book: TokenBook) -> FastAPI:
    """The app of one node; put a Guard around it for each socket."""
    # The pages of FastAPI load scripts from elsewhere; the document itself is enough.
    app = FastAPI(
        title="clb", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json",
        redirect_slashes=False,
    )  # fmt: skip
    app.include_router(build_router(node, exposition))
    app.include_router(build_token_router(node, book))
    app.include_router(export_routes(node))
    app.include_router(build_audit_router(node))
    app.include_router(certificate_routes(node))
    app.include_router(keyring_routes(node))
    add_fault_handlers(app)
    check_roles(app)
    make_document = app.openapi
    app.openapi = lambda: show_roles(make_document())  # type: ignore[method-assign]
    return app


def add_fault_handlers(app: FastAPI) -> None:
    """Give every failure the one form."""
    app.add_exception_handler(ApiFault, _api_fault)
    app.add_exception_handler(StoreAway, _store_away)
    app.add_exception_handler(OutcomeUnknown, _outcome_unknown)
    app.add_exception_handler(NodeBusy, _node_busy)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_fault)
    app.add_exception_handler(Exception, _unforeseen)


async def _api_fault(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, ApiFault)
    return _answer(fault.status, fault.code, str(fault), fault.details)


async def _store_away(request: Request, fault: Exception) -> JSONResponse:
    return _answer(503, "store_away", "the store cannot be reached, nothing was changed; try again")


async def _outcome_unknown(request: Request, fault: Exception) -> JSONResponse:
    return _answer(503, "outcome_unknown", "the connection to the store was lost: look whether it was done")


async def _node_busy(request: Request, fault: Exception) -> JSONResponse:
    return _answer(503, "busy", f"nothing was changed: {fault}")


async def _invalid(request: Request, fault: Exception) -> JSONResponse:
    """Name each input that is wrong, without its value, which may be long or secret."""
    assert isinstance(fault, RequestValidationError)
    details = [
        f"{'.'.join(str(step) for step in error['loc'])[:200]}: {error['msg'][:300]}"
        for error in fault.errors()[:_MOST_DETAILS]
    ]
    return _answer(400, "invalid_input", "the request is not what this path takes", details)


async def _http_fault(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    code, message = _CODES.get(fault.status_code, ("refused", "the request cannot be served"))
    return _answer(fault.status_code, code, message, headers=fault.headers)


async def _unforeseen(request: Request, fault: Exception) -> JSONResponse:
    _logger.error("management request failed: %s", request.url.path, exc_info=fault)
    return _answer(500, "internal", "this is a defect of clb; its log has the trace")


def _answer(
    status: int, code: str, message: str, details: list[str] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    body = error_body(code, message)
    if details:
        body["error"]["details"] = details
    return JSONResponse(body, status, headers)
