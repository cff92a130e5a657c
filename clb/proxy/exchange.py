"""One request and its answer: routed, sent to a real server, answered.

Owns:      every decision between a request head and the end of its answer: rule, framing to the client, the account.
Elsewhere: which target it is offered to, and which next (attempts.py); the client's connection and the request's body
           (downstream.py), the real server's connection and the answer's framing (upstream.py), clb's own replies
           (replies.py).

Called directly by both sides, without tasks or events. It touches transports through `connection` and the lent
`Upstream` only, so a test can play a whole exchange with two recording stand-ins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clb.config.models import Redirect
from clb.errors import (
    BadHost,
    BadRequest,
    BadTarget,
    ClbError,
    DownstreamAborted,
    NoRule,
    QueueFull,
    QueueTimeout,
    RequestTimeout,
)
from clb.http1.chunked import LAST_CHUNK, encode_chunk, encode_last_chunk
from clb.http1.request import RequestHead
from clb.http1.response import ResponseHead
from clb.http1.target import split_host
from clb.proxy.attempts import Attempts
from clb.proxy.forwarded import address_lines, contains, merged_address_lines, real_address
from clb.proxy.replies import error_reply, redirect_reply
from clb.proxy.rule import RuleRuntime
from clb.proxy.upstream import Upstream
from clb.routing.path import normalise_path
from clb.routing.redirect import redirect_location, slash_location
from clb.routing.urls import SlashRedirect

if TYPE_CHECKING:
    from clb.proxy.downstream import Downstream
    from clb.proxy.pace import Pace
    from clb.proxy.request_gate import RequestGate

CLIENT_WENT_AWAY = 499
"""What the log shows for a request whose client left before an answer began (nginx's number; never sent)."""
PENDING_BODY_LIMIT = 64 * 1024
"""Body bytes kept while no connection is there to take them; then reading from the client pauses."""


class Exchange(Attempts):
    """One request at work. Class attributes are the values of an exchange that has come no further."""

    status = 0
    rule_name = ""
    """Its domain and URL; empty when none matched."""
    upstream_status = 0
    upstream_response_s = -1.0
    ended_at = 0.0
    billed_out = 0
    error_reason = ""
    awaits_continue = False
    """The client holds its body back until the real server says `100 Continue`."""
    _is_own_reply = False
    _is_refused = False
    _encodes_chunks = False
    _held_head = b""
    _closes_after = False
    _pending: list[bytes] | None = None
    _pending_bytes = 0
    gates: tuple[RequestGate, ...] = ()
    """Those it has passed or waits at; they are told when it is over."""
    pace: Pace | None = None
    """How fast the client is, while it is waited for."""
    _is_live = False
    """It counts among the live requests of its rule's budget."""
    _stored_in = 0
    """How much of `billed_in` is in the record of a target or rule."""

    def __init__(self, connection: Downstream, request: RequestHead, started_at: float, billed_in: int) -> None:
        self.connection = connection
        self.request = request
        self.started_at = started_at
        self.billed_in = billed_in
        self.method = request.method
        self.target = request.target
        self.minor_version = request.minor_version
        self.host = request.host
        self.fields = request.fields
        self.request_id = connection.runtime.next_request_id() if request.is_plain else connection.request_id(request)

    # --- what the access log asks for ---

    def header(self, lower_name: bytes) -> bytes:
        """Return a request field's first value, or nothing."""
        return self.request.value(lower_name)

    @property
    def server_name(self) -> bytes | None:
        """What the client asked for by SNI."""
        return self.connection.server_name

    # --- what it counts ---

    def count_in(self, size: int) -> None:
        """Count HTTP bytes of the request behind its head."""
        self.billed_in += size
        self._store_in()

    def _store_in(self) -> None:
        """Store what came in and is in nobody's record yet; a head, with what follows it or with the answer."""
        if self.candidate is not None:
            self.candidate.payload.ledger.adds(self.billed_in - self._stored_in, 0)
        elif self.rule is not None:
            self.rule.ledger.adds(self.billed_in - self._stored_in, 0)
        else:
            return
        self._stored_in = self.billed_in

    def _store_out(self, size: int) -> None:
        """Count HTTP bytes that are about to be sent; clb's own are in no rule."""
        self.billed_out += size
        if self.candidate is not None and not self._is_own_reply:
            self.candidate.payload.ledger.adds(0, size)

    def _count_answer(self) -> None:
        """Count an answer of the real server's before its first byte is sent: nobody sees what is not counted."""
        if self.candidate is not None:
            self.candidate.payload.ledger.answered(self.status, self.upstream_header_s)
            self._store_in()

    def _count_own(self) -> None:
        """Count a request that ends without a real server's answer."""
        if self.rule is None:
            self.connection.runtime.ledger.answered(self.status)
            return
        self.rule.ledger.answered(self.status)
        self.rule.ledger.adds(self.billed_in - self._stored_in, 0)
        self._stored_in = self.billed_in

    def _leave_ledger(self) -> None:
        """Say where it is to be taken back what of an answer that is over turns out not to have arrived."""
        candidate = None if self._is_own_reply else self.candidate
        self.connection.last_ledger = candidate.payload.ledger if candidate is not None else None

    def take_back(self, unsent: int) -> None:
        """Take out bytes of an answer under way that will not arrive."""
        self.billed_out -= unsent
        if self.candidate is not None:
            self.candidate.payload.ledger.take_back(unsent)

    # --- the request's way up ---

    def begin(self) -> None:
        """Find the rule and offer the request to a target; replies by itself where that ends here.

        Called again for a request that had to wait at a gate, which then lets it pass.
        """
        request = self.request
        runtime = self.connection.runtime
        if runtime.gate is not None and not runtime.gate.passes(self):
            return
        try:
            path = b"/" if request.path == b"*" else normalise_path(request.path)
        except BadTarget as error:
            self.fail(error)
            return
        rule = runtime.router.route(request.host, path)
        if rule.__class__ is RuleRuntime:
            self.rule = rule
            self.rule_name = rule.name
            if rule.gate is not None and not rule.gate.passes(self):
                return
            if rule.config.redirect is None:
                self._is_live = True
                rule.budget.live_requests += 1
                self._offer(rule)
            else:
                self._redirect_by(rule.config.redirect)
        elif isinstance(rule, SlashRedirect):
            self._redirect_to_slash(rule)
        else:
            self.fail(NoRule("no rule for this host and path"))

    def _send(self, upstream: Upstream, now: float) -> None:
        connection, request = self.connection, self.request
        self.upstream = upstream
        self._sent_at = now
        if not connection.is_write_blocked:
            connection.deadline = now + connection.runtime.timeouts.upstream
        upstream.begin(
            self,
            request.method,
            b"%b %b HTTP/1.1\r\n%b%b%bX-Stgw-Time: %b\r\nX-Request-ID: %b\r\n\r\n"
            % (
                request.method,
                request.target,
                request.lines,
                connection.plain_lines if request.is_plain else self._supplied_lines(),
                connection.forwarded_lines,
                connection.clock.stamp(now),
                self.request_id,
            ),
        )
        if request.content_length:
            self._send_body_so_far(upstream)

    def _send_body_so_far(self, upstream: Upstream) -> None:
        """Send what came of the body while there was no connection; from now on the rest of it is due."""
        pending, self._pending, self._pending_bytes = self._pending, None, 0
        if pending is not None:
            upstream.transport.writelines(pending)
            if not upstream.is_write_blocked:
                self.connection.upstream_is_blocked(False)
        elif self.request.expects_continue:
            self.awaits_continue = True
            return
        self.connection.expect_body()

    def _supplied_lines(self) -> bytes:
        """Return the address, version and Via fields where the plain case does not hold."""
        connection, request = self.connection, self.request
        supplied, config = request.supplied, connection.runtime.config
        lines = b"X-Client-Proto-Ver: HTTP/1.%d\r\n" % request.minor_version
        via = supplied.get(b"via")
        lines += b"Via: %b1.%d clb\r\n" % (via + b", " if via else b"", request.minor_version)
        chain = supplied.get(b"x-forwarded-for")
        if not chain or config.forwarded_for == "replace":
            lines += address_lines(connection.client_address)
        else:
            real = real_address(chain, connection.client_address, config.trusted_proxies)
            lines += merged_address_lines(chain, connection.client_address, real)
        if b"forwarded" in supplied and contains(config.trusted_proxies, connection.client_address.decode("ascii")):
            lines += b"Forwarded: %b\r\n" % supplied[b"forwarded"]
        return lines

    def request_pieces(self, pieces: list[bytes]) -> None:
        """Send pieces of the request's body."""
        if self.upstream is not None:
            self.upstream.transport.writelines(pieces)
        else:
            for piece in pieces:
                self.request_data(piece)

    def request_data(self, data: bytes) -> None:
        """Send a piece of the request's body, framed, or of an upgraded connection."""
        if self.upstream is not None:
            self.upstream.transport.write(data)
            return
        if self._pending is None:
            self._pending = []
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > PENDING_BODY_LIMIT:
            self.connection.upstream_is_blocked(True)

    def downstream_finished(self) -> None:
        """The client sends no more: pass the end of an upgraded connection's stream on."""
        if self.upgraded and self.upstream is not None and not self.upstream.transport.is_closing():
            self.upstream.transport.write_eof()

    def downstream_lost(self) -> None:
        """The client is gone: give the real server's connection up."""
        if self.is_over:
            return
        if not self._is_answer_begun:
            self.status = CLIENT_WENT_AWAY
            self._count_own()
        self.error_reason = self.error_reason or DownstreamAborted.reason
        self._end(self.connection.clock.now(), is_reusable=False)

    # --- the answer's way down ---

    def interim_answer(self, response: ResponseHead) -> None:
        """Pass a 1xx on; HTTP/1.0 does not know them (RFC 9110 section 15.2)."""
        if self.request.minor_version and not self.is_over:
            self.send(response.status_line + response.lines + b"\r\n")
        if self.awaits_continue and response.status == 100:
            self.awaits_continue = False
            self.connection.expect_body()

    def answer_whole(self, response: ResponseHead, body: bytes, is_reusable: bool) -> None:
        """Send an answer that came in one piece; the real server's connection is lent no more."""
        connection, status = self.connection, response.status
        if (
            status < 500
            and response.is_plain
            and self.request.is_plain
            and not self._is_sticky_new
            and connection.may_go_on(self.request)
        ):
            # What `answer` would do, for the case that nearly all small answers are.
            self._is_answer_begun = True
            self.status = self.upstream_status = status
            # What it came whole at is its head's time and its end.
            now = connection.clock.now()
            self.upstream_header_s = header_s = now - self._sent_at
            data = b"%b%b\r\n%b" % (response.status_line, response.lines, body)
            size = len(data)
            self.billed_out += size
            # What `_count_answer` and `_store_out` do, without the calls.
            ledger = self.candidate.payload.ledger  # type: ignore[union-attr]
            ledger.billed_in = billed_in = ledger.billed_in + self.billed_in - self._stored_in
            ledger.written_out = written_out = ledger.written_out + size
            if status < 300:
                ledger.requests_2xx += 1
            else:
                ledger.record[ledger.answered_at[status // 100]] += 1
            ledger.latency_s += header_s
            record = ledger.record
            record[0], record[1], record[2] = billed_in, written_out, ledger.requests_2xx
            connection.last_ledger = ledger
            connection.send(data)
            self._end(now, is_reusable=is_reusable)
            return
        if status >= 500 and self._server_error(status, is_reusable=is_reusable):
            return
        self.answer(response, body, is_whole=True)
        self._leave_ledger()
        self._end(connection.clock.now(), is_reusable=is_reusable)

    def answer(self, response: ResponseHead, body: bytes, *, is_whole: bool = False, holds_head: bool = False) -> None:
        """Send the answer's head with as much of its body as came along.

        With `holds_head` the head goes out with the `answer_pieces` that the caller makes follow at once.
        """
        if response.status >= 500 and not is_whole and self._server_error(response.status, is_reusable=False):
            return
        connection, request = self.connection, self.request
        self._is_answer_begun = True
        self.status = self.upstream_status = response.status
        self.upstream_header_s = connection.clock.now() - self._sent_at
        lines = response.lines
        if response.is_upgrade:
            self.upgraded = True
        elif response.content_length < 0:
            lines += self._begin_open_ended()
        if not (self.upgraded or self._closes_after or connection.may_go_on(request)):
            self._closes_after = True
        if self._closes_after:
            lines += b"Connection: close\r\n"
        elif not request.minor_version and not self.upgraded:
            lines += b"Connection: keep-alive\r\n"
        if self._is_sticky_new:
            lines += self._session_line()
        if not is_whole:
            self._tell_latency(connection.clock.now())
            connection.expect_within(self.idle_timeout_s())
        head = b"%b%b\r\n" % (response.status_line, lines)
        if body and self._encodes_chunks:
            body = encode_chunk(body)
        if holds_head:
            self._held_head = head
            return
        self._count_answer()
        if is_whole and self._closes_after:
            self._send_last(head + body)
        else:
            self.send(head + body if body else head)
        if self.upgraded:
            connection.begin_tunnel()

    def _begin_open_ended(self) -> bytes:
        """Decide how a body without a length is framed for this client."""
        if self.request.minor_version:
            self._encodes_chunks = True
            return b"Transfer-Encoding: chunked\r\n"
        self._closes_after = True
        return b""

    def _session_line(self) -> bytes:
        assert self.rule is not None  # an answer came, so a rule sent the request
        if self.rule.session is None:
            return b""  # Sessions were switched off meanwhile.
        assert self.candidate is not None
        return b"Set-Cookie: %b\r\n" % self.rule.session.set_cookie(self.candidate)

    def answer_data(self, data: memoryview) -> None:
        """Send a piece of the answer's body, or of an upgraded connection."""
        self.connection.expect_within(self.idle_timeout_s())
        self.send(encode_chunk(bytes(data)) if self._encodes_chunks else data)

    def answer_pieces(self, pieces: list[bytes], trailer_lines: bytes | None) -> None:
        """Send pieces of a body that came in chunks; `trailer_lines` ends it."""
        self.connection.expect_within(self.idle_timeout_s())
        if self._encodes_chunks:
            pieces = [encode_chunk(piece) for piece in pieces]
            if trailer_lines is not None:
                pieces.append(encode_last_chunk(trailer_lines) if trailer_lines else LAST_CHUNK)
                self._encodes_chunks = False
        if self._held_head:
            self._count_answer()
            pieces.insert(0, self._held_head)
            self._held_head = b""
        if pieces:
            self.send(b"".join(pieces))

    def answer_complete(self, is_reusable: bool) -> None:
        """The real server's answer is whole; its connection may be lent again if it says so."""
        if self._encodes_chunks:
            self.send(LAST_CHUNK)
        self._leave_ledger()
        self._end(self.connection.clock.now(), is_reusable=is_reusable)

    def send(self, data: bytes | memoryview) -> None:
        """Send HTTP bytes to the client and count them."""
        self._store_out(len(data))
        self.connection.send(data)

    def _send_last(self, data: bytes) -> None:
        """Send what ends the connection; nothing may be sent behind it."""
        self._store_out(len(data))
        self.connection.send_last(data)

    def idle_timeout_s(self) -> float:
        """Return how long the real server may be silent now."""
        timeouts = self.connection.runtime.timeouts
        return timeouts.tunnel if self.upgraded else timeouts.upstream

    # --- what goes wrong ---

    def fail(self, error: ClbError) -> None:
        """End the exchange with the error's reply, or by cutting an answer that has begun."""
        self.error_reason = error.reason
        self._is_refused = isinstance(error, BadRequest)
        connection = self.connection
        connection.count_refusal(error)
        if isinstance(error, QueueFull | QueueTimeout | RequestTimeout):
            self._count_failure(error.reason)
        if self._held_head:
            # The answer's head waited for a first chunk that turned out to be none: nothing of it has been sent.
            self._held_head, self._is_answer_begun = b"", False
        if self._is_answer_begun or error.client_status is None:
            # The client must not take what it has for the whole answer.
            if not self._is_answer_begun:
                self._count_own()
            self._leave_ledger()
            self._end(connection.clock.now(), is_reusable=False, is_cut=True)
            return
        self.reply_error(error.client_status, error.retry_after_s)

    def reply_error(self, status: int, retry_after_s: int = 0) -> None:
        """Answer with one of clb's own error pages."""
        request = self.request
        keep_alive = self._reply_keeps_alive()
        self._reply(
            status,
            error_reply(
                status,
                self.request_id,
                request.value(b"accept"),
                method=request.method,
                keep_alive=keep_alive,
                date=self.connection.clock.date(self.connection.clock.now()),
                extra_headers=(b"Retry-After: %d" % retry_after_s,) if retry_after_s else (),
            ),
        )

    def _redirect_by(self, redirect: Redirect) -> None:
        try:
            location = redirect_location(redirect, self.connection.scheme, self.host, self._port(), self.target)
        except BadHost as error:
            self.fail(error)
            return
        if location is None:
            self.fail(NoRule("the rule redirects to the very URL that was asked for"))
        else:
            self._redirect(redirect.status, location)

    def _redirect_to_slash(self, found: SlashRedirect) -> None:
        query = self.target[len(self.request.path) :]
        try:
            location = slash_location(self.connection.scheme, self.host, self._port(), found.path, query)
        except BadHost as error:
            self.fail(error)
        else:
            self._redirect(301, location)

    def _port(self) -> int | None:
        """The port that the client wrote, by which it reached us through whatever stands in between."""
        return split_host(self.request.host_field)[1] if self.request.host_field else None

    def _redirect(self, status: int, location: bytes) -> None:
        self._reply(
            status,
            redirect_reply(
                status,
                location,
                self.request_id,
                self.request.value(b"accept"),
                method=self.request.method,
                keep_alive=self._reply_keeps_alive(),
                date=self.connection.clock.date(self.connection.clock.now()),
            ),
        )

    def _reply_keeps_alive(self) -> bool:
        if self._is_refused:
            return False  # Whoever sends what is not HTTP may mean something else by what follows.
        return bool(self.request.minor_version) and self.connection.may_go_on(self.request)

    def _reply(self, status: int, reply: bytes) -> None:
        self._closes_after = not self._reply_keeps_alive()
        self._is_own_reply = True
        self._is_answer_begun = True
        self.status = status
        self._count_own()
        if self._closes_after:
            self._send_last(reply)
        else:
            self.send(reply)
        self._leave_ledger()
        self._end(self.connection.clock.now(), is_reusable=False)

    def _end(self, now: float, *, is_reusable: bool, is_cut: bool = False) -> None:
        """Give everything back, count, and let the connection go on or end."""
        if self.is_over:
            return
        self.is_over = True
        connection, rule, candidate = self.connection, self.rule, self.candidate
        self.ended_at = now
        if candidate is not None:
            candidate.in_flight -= 1
            if rule is not None and (watcher := rule.scheduler.watcher) is not None:
                if self.upstream_header_s >= 0:
                    self._tell_latency(now)
                watcher.ended(candidate)
            if (
                candidate.is_suspect
                and 0 < self.upstream_status < 500
                and rule is not None
                and rule.observation is not None
            ):
                rule.observation.answered(candidate, self.upstream_status, now)
            if self.is_queued:
                candidate.payload.cancel(self)
            upstream, self.upstream = self.upstream, None
            if upstream is not None:
                self.upstream_response_s = now - self._sent_at
                if is_reusable and connection.has_whole_request():
                    candidate.payload.release(upstream, now)
                else:
                    upstream.close()
        if self.gates:
            for gate in self.gates:
                gate.leave(self)
        if rule is not None and self._is_live:
            rule.budget.live_requests -= 1
            if self._holds_budget:
                rule.budget.release()
        connection.exchange_ended(self, closes=self._closes_after or self.upgraded, is_cut=is_cut)
