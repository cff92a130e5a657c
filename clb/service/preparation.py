"""Everything between a sound configuration and the first fork: user, state directory, log, sockets, bases.

Owns:      the order, and an error in the operator's words for each step.
Elsewhere: each step (privileges.py, state.py, sockets.py, bases.py).
"""

from __future__ import annotations

import logging

from clb.observe.logging import fields
from clb.service.loading import Loaded
from clb.service.node import Node, Table
from clb.service.privileges import find_user, give_to
from clb.service.reload import bind_admin
from clb.service.sockets import bind_control
from clb.service.start_error import StartError
from clb.service.state import load_cookie_key, lock_state_dir, prepare_access_log, prepare_state_dir

_logger = logging.getLogger(__name__)


def prepare_node(node: Node, loaded: Loaded) -> None:
    """Get all that the first workers need; what a predecessor handed over is used.

    Raises:
        StartError: something cannot be had.
    """
    node.credentials = find_user(loaded.node.user)
    try:
        _prepare_files(node, loaded)
    except (OSError, ValueError) as error:
        raise StartError(str(error)) from error
    if node.admin_socket is None or node.admin_address != loaded.node.admin:
        fresh = bind_admin(loaded)
        if node.admin_socket is not None:
            node.admin_socket.close()
        node.admin_socket, node.admin_address = fresh, loaded.node.admin
    node.sockets.add(node.sockets.open(loaded.listeners, loaded.node.workers))
    node.sockets.keep_only(loaded.listeners.values())
    for key, (address, port) in loaded.listeners.items():
        _logger.info("listening", extra=fields(listener=key, address=f"{address}:{port}"))
    node.bases.grow(loaded.bases)
    judged = node.inherited_judgements
    node.table = Table.for_keys(loaded.rows, loaded.node.workers)
    node.table.repeat(judged, loaded.rows)


def _prepare_files(node: Node, loaded: Loaded) -> None:
    directory = loaded.node.state_dir
    prepare_state_dir(directory, node.credentials)
    if directory != node.state_dir or node.lock < 0:
        # A predecessor's, in another directory, stays locked until this program ends.
        node.lock = lock_state_dir(directory)
        if node.control_socket is not None:
            node.control_socket.close()
        node.control_socket = None
    if node.control_socket is None:
        node.control_socket = bind_control(directory / "control.sock")
    give_to(node.credentials, directory / "control.sock")
    node.state_dir = directory
    node.cookie_key = load_cookie_key(directory)
    give_to(node.credentials, directory / "cookie.key")
    prepare_access_log(loaded.node.access_log, node.credentials)
