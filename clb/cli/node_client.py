"""Ask a node: the one that runs on this machine, over its control socket, or another by its management address.

Owns:      finding it, one request at a time, and what to tell the operator when nobody answers.
Elsewhere: the management address and its TLS (remote.py); the routes (control/); what each command makes of the answer.

Only the standard library, and the file of the configuration as plain data: a command must start at once, and must
find the node also while its file has a fault that the operator is about to mend.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NoReturn

import typer

from clb.cli.remote import Remote, RemoteFault, remote_of

DEFAULT_STATE_DIR = Path("/var/lib/clb")
SOCKET_NAME = "control.sock"
OWN_CERTIFICATE = "admin.pem"
EXIT_REFUSED = 1
EXIT_NO_NODE = 2
LARGEST_ANSWER = 256 << 20
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

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

    def __init__(self, message: str, details: list[str], exit_code: int, code: str = "") -> None:
        super().__init__(message)
        self.details = details
        self.exit_code = exit_code
        self.code = code
        """The word of the API for it; empty if nobody answered."""

    def leave(self) -> NoReturn:
        """Tell the operator and end the command."""
        for line in self.details:
            typer.echo(line, err=True)
        typer.echo(f"clb: {self}", err=True)
        raise typer.Exit(self.exit_code)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The options that name a node by its management address."""

    url: str
    token_file: Path | None = None
    authority: Path | None = None
    fingerprint: str | None = None


_chosen: list[Elsewhere] = []


def choose(elsewhere: Elsewhere | None) -> None:
    """Have all commands of this process ask this node, if they are not told which by options of their own."""
    _chosen[:] = [elsewhere] if elsewhere is not None else []


class NodeClient:
    """One node."""

    def __init__(self, path: Path, timeout_s: float = 10.0, remote: Remote | None = None) -> None:
        self.path = path
        """Its socket; of no use with `remote`."""
        self._timeout_s = timeout_s
        self._remote = remote

    @classmethod
    def of(cls, config: Path | None, socket_file: Path | None, timeout_s: float = 10.0) -> NodeClient:
        """The node of a configuration file, of a socket, the one that was chosen, or the usual one.

        Raises:
            NodeFault: both are given, or the file cannot be read.
        """
        if config is not None and socket_file is not None:
            raise NodeFault("give --config or --socket, not both", [], EXIT_NO_NODE)
        if socket_file is None:
            socket_file = (_state_dir(config) if config is not None else DEFAULT_STATE_DIR) / SOCKET_NAME
        return cls(socket_file, timeout_s, _remote(socket_file.parent) if _chosen else None)

    def get(self, path: str) -> Any:
        """The answer to a GET.

        Raises:
            NodeFault: there is none, or it is an error.
        """
        return self.ask("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """The answer to a POST; raises as `get` does."""
        return self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = _NO_HEADERS) -> Any:
        """The answer to any request, None if it has no content; raises as `get` does."""
        content = json.dumps(body).encode("ascii") if body is not None else None
        sent = {**headers, **({"Content-Type": "application/json"} if content is not None else {})}
        if self._remote is not None:
            sent["Authorization"] = f"Bearer {self._remote.token}"
        try:
            connection = self._connection()
        except RemoteFault as fault:
            raise NodeFault(str(fault), [], EXIT_NO_NODE) from fault
        try:
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            data = response.read(LARGEST_ANSWER)
            is_text = response.headers.get_content_type() == "application/yaml"
            answer = data.decode() if is_text else json.loads(data) if data else None
        except RemoteFault as fault:
            raise NodeFault(str(fault), [], EXIT_NO_NODE) from fault
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NodeFault(self._why(error), [], EXIT_NO_NODE) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise _refusal(answer, response.status)
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if self._remote is not None:
            return self._remote.connect(self._timeout_s)
        return _UnixConnection(self.path, self._timeout_s)

    def _why(self, error: Exception) -> str:
        return _why(error, self.path) if self._remote is None else _why_not_there(error, self._remote.where)


def _remote(state_dir: Path) -> Remote:
    chosen = _chosen[0]
    try:
        return remote_of(
            chosen.url, chosen.token_file, chosen.authority, chosen.fingerprint, state_dir / OWN_CERTIFICATE
        )
    except RemoteFault as fault:
        raise NodeFault(str(fault), [], EXIT_NO_NODE) from fault


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
    node = read_plainly(config).get("node")
    given = node.get("state_dir") if isinstance(node, dict) else None
    return config.absolute().parent / given if isinstance(given, str) else DEFAULT_STATE_DIR


def read_plainly(config: Path) -> dict[str, Any]:
    """A configuration file as plain data; it may be wrong in any way but the form.

    Raises:
        NodeFault: it cannot be read.
    """
    from clb.config.document import DocumentError, parse

    try:
        root, _ = parse(config.read_bytes())
    except OSError as error:
        raise NodeFault(f"{config}: {error.strerror}", [], EXIT_NO_NODE) from error
    except DocumentError as error:
        where = f"{config}:{error.place[0]}:{error.place[1]}"
        message = f"{where}: {error.message}; --socket finds the node without the file"
        raise NodeFault(message, [], EXIT_NO_NODE) from error
    return root.value if isinstance(root.value, dict) else {}


def _why(error: Exception, path: Path) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no node runs here: nobody listens on {path}; is clb serve running, with this state_dir?"
    if isinstance(error, PermissionError):
        return f"{path}: permission denied; ask as root or as the user that the node runs as"
    if isinstance(error, TimeoutError):
        return f"the node does not answer on {path}"
    return f"{path}: {error}"


def _why_not_there(error: Exception, where: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{where}: its certificate is not trusted ({error.verify_message}); give --ca FILE or --fingerprint SHA256 "
            "(on the node: clb admin fingerprint)"
        )
    if isinstance(error, TimeoutError):
        return f"{where}: no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return f"{where}: nobody listens there"
    return f"{where}: {error}"


def _refusal(answer: Any, status: int) -> NodeFault:
    problem = answer if isinstance(answer, dict) else {}
    details = [_line(error) for error in problem.get("errors", [])]
    message = str(problem.get("detail", f"the node answers {status}"))
    return NodeFault(message, details, EXIT_REFUSED, str(problem.get("code", "")))


def _line(error: Any) -> str:
    return ": ".join(str(error[name]) for name in ("where", "key", "message") if error.get(name))
