"""Ask the node that runs on this machine, over its control socket.

Owns:      finding the socket, one request at a time, and what to tell the operator when nobody answers.
Elsewhere: the routes (control/routes.py); what each command makes of the answer.

Only the standard library, and the file of the configuration as plain data: a command must start at once, and must
find the node also while its file has a fault that the operator is about to mend.
"""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

DEFAULT_STATE_DIR = Path("/var/lib/clb")
SOCKET_NAME = "control.sock"
EXIT_REFUSED = 1
EXIT_NO_NODE = 2
LARGEST_ANSWER = 256 << 20

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The node's YAML file; its node.state_dir has the socket."),
]
SocketFile = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help=f"The node's socket; default {DEFAULT_STATE_DIR / SOCKET_NAME}."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]


class NodeFault(Exception):
    """The node did not do it."""

    def __init__(self, message: str, details: list[str], exit_code: int) -> None:
        super().__init__(message)
        self.details = details
        self.exit_code = exit_code

    def leave(self) -> NoReturn:
        """Tell the operator and end the command."""
        for line in self.details:
            typer.echo(line, err=True)
        typer.echo(f"clb: {self}", err=True)
        raise typer.Exit(self.exit_code)


class NodeClient:
    """The node behind a socket."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self.path = path
        self._timeout_s = timeout_s

    @classmethod
    def of(cls, config: Path | None, socket_file: Path | None, timeout_s: float = 10.0) -> NodeClient:
        """The node of a configuration file, of a socket, or the usual one.

        Raises:
            NodeFault: both are given, or the file cannot be read.
        """
        if config is not None and socket_file is not None:
            raise NodeFault("give --config or --socket, not both", [], EXIT_NO_NODE)
        if socket_file is None:
            socket_file = (_state_dir(config) if config is not None else DEFAULT_STATE_DIR) / SOCKET_NAME
        return cls(socket_file, timeout_s)

    def get(self, path: str) -> Any:
        """The answer to a GET.

        Raises:
            NodeFault: there is none, or it is an error.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        """The answer to a POST; raises as `get` does."""
        return self._ask("POST", path, json.dumps(body).encode("ascii"))

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        connection = _UnixConnection(self.path, self._timeout_s)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read(LARGEST_ANSWER)
            answer = json.loads(data)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NodeFault(_why(error, self.path), [], EXIT_NO_NODE) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise _refusal(answer, response.status)
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _state_dir(config: Path) -> Path:
    """`node.state_dir` of a file that may be wrong elsewhere."""
    from clb.config.document import DocumentError, parse

    try:
        root, _ = parse(config.read_bytes())
    except OSError as error:
        raise NodeFault(f"{config}: {error.strerror}", [], EXIT_NO_NODE) from error
    except DocumentError as error:
        where = f"{config}:{error.place[0]}:{error.place[1]}"
        message = f"{where}: {error.message}; --socket finds the node without the file"
        raise NodeFault(message, [], EXIT_NO_NODE) from error
    node = root.value.get("node") if isinstance(root.value, dict) else None
    given = node.get("state_dir") if isinstance(node, dict) else None
    return config.absolute().parent / given if isinstance(given, str) else DEFAULT_STATE_DIR


def _why(error: Exception, path: Path) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no node runs here: nobody listens on {path}; is clb serve running, with this state_dir?"
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; ask as root or as the user that the node runs as"
    if isinstance(error, TimeoutError):
        return f"the node does not answer on {path}"
    return f"{path}: {error}"


def _refusal(answer: Any, status: int) -> NodeFault:
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    details = [str(line) for line in error.get("details", [])]
    return NodeFault(str(error.get("message", f"the node answers {status}")), details, EXIT_REFUSED)
