"""A small real server for trying clb out: plain HTTP, answers what it was asked, in text.

Owns:      the answer: which server, method, path, body size and headers as they arrived.
Elsewhere: starting and stopping it (demo.py).

Usage: demo_server.py NAME PORT      (listens on 127.0.0.1 only)
"""

from __future__ import annotations

import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class DemoServer(ThreadingHTTPServer):
    """One real server; the name is what tells two of them apart in an answer."""

    daemon_threads = True

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        super().__init__(("127.0.0.1", port), DemoHandler)


class DemoHandler(BaseHTTPRequestHandler):
    """Answers every method alike and keeps the connection open, as clb's pool expects."""

    protocol_version = "HTTP/1.1"
    server: DemoServer

    def _answer(self) -> None:
        body_bytes = self._skip_body()
        lines = [
            f"real server: {self.server.name}",
            f"{self.command} {self.path} (body: {body_bytes} bytes)",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        text = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    # The names are the standard library's: it looks for do_ and the method.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def _skip_body(self) -> int:
        """Read the body to its end, or its rest would be taken for the next request."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            total = 0
            while size := int(self.rfile.readline().split(b";")[0], 16):
                total += len(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():  # trailers
                pass
            return total
        remaining = total = int(self.headers.get("Content-Length", 0))
        while remaining > 0 and (piece := self.rfile.read(min(remaining, 65536))):
            remaining -= len(piece)
        return total - remaining

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: clb's access log has the request already."""


def main() -> None:
    """Command line: name and port; SIGTERM ends it with status 0."""
    if len(sys.argv) != 3:
        sys.exit("usage: demo_server.py NAME PORT")
    name, port = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server = DemoServer(name, port)
    except OSError as exc:
        sys.exit(f"{name}: cannot listen on 127.0.0.1:{port}: {exc.strerror}")
    with server:
        server.serve_forever()


if __name__ == "__main__":
    main()
