"""Make one line of the access log of one exchange.

Owns:      what stands in which field, and what is rendered once instead of per request.
Elsewhere: the fields and their order (access_record.py); their spelling (access_style.py).
Pure:      the wall clock and the time zone are passed in.

`line` runs once per request. What a connection repeats is baked into a template that stays with it, what many
exchanges share is looked up in one piece, and one `%` fills in the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from clb.observe.access_record import AccessRecord
from clb.observe.access_style import Style, is_clean

_MAX_ANSWERS = 4096
# What one connection, or one answer, may hold in memory for the log's sake: browsers need about 700 bytes.
_MAX_KEPT_BYTES = 2048
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def time_local(wall_s: float, local_time: Callable[[float], time.struct_time] = time.localtime) -> bytes:
    """`01/Jul/2026:11:11:00 +0800`. strftime would write the month in the process's language."""
    at = local_time(wall_s)
    hours, minutes = divmod(abs(at.tm_gmtoff) // 60, 60)
    date = f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year:04d}"
    zone = f"{'-' if at.tm_gmtoff < 0 else '+'}{hours:02d}{minutes:02d}"
    return f"{date}:{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} {zone}".encode()


def _literal(rendered: bytes) -> bytes:
    """Double the percent signs of a constant part, which `%` makes single again."""
    return rendered.replace(b"%", b"%%")


class Bounded(dict[tuple[object, ...], bytes]):
    """A memo that begins anew when it is full and holds nothing long: inventing values costs a client time only."""

    def __setitem__(self, key: tuple[object, ...], value: bytes) -> None:
        if len(value) > _MAX_KEPT_BYTES:
            return
        if len(self) >= _MAX_ANSWERS:
            self.clear()
        super().__setitem__(key, value)


class LineFormat:
    """`line(record)` for one style."""

    def __init__(
        self,
        style: Style,
        wall_clock: Callable[[float], float],
        local_time: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        """`wall_clock` turns loop time into seconds since 1970; it is asked once per second."""
        self._style = style
        self._wall_clock = wall_clock
        self._local_time = local_time
        self._time_local = b""
        self._time_valid_until = -math.inf
        self._absent = style.absent
        self._times_of_an_instant = self._times(0.0, 0.0, 0.0, 0.0)
        self._times_reused = self._render_times([b"%.3f", b"%.3f", b"0.000", b"%.3f"])
        self._answers = Bounded()
        self._frames = Bounded()
        self._clients = Bounded()
        self._no_trouble = self._trouble(0, "")

    def line(self, record: AccessRecord) -> bytes:
        connection = record.connection
        fields, prefix = record.fields, connection.log_prefix
        if prefix is None or prefix[0] is not fields or prefix[1] is not self:
            prefix = self._prefix(record, fields, prefix)
        template: bytes = prefix[3]

        ended_at = record.ended_at
        if ended_at >= self._time_valid_until:
            self._next_second(ended_at)

        method, status, address = record.method, record.status, record.upstream_address
        shared = (status, address, record.upstream_status, record.rule_name, method)
        answer = self._answers.get(shared)
        if answer is None:
            answer = self._answers[shared] = self._answer(record)

        request_id, target = record.request_id or b"-", record.target or b"-"
        if not is_clean(request_id + target):
            request_id, target = self._style.escape(request_id), self._style.escape(target)

        # Formatting floats is a fifth of the whole line's cost, so the usual cases have ways of their own.
        total_s = ended_at - record.started_at
        connect_s, header_s = record.upstream_connect_s, record.upstream_header_s
        response_s = record.upstream_response_s
        if connect_s != 0.0 or header_s < 0.0 or response_s < 0.0:
            times = self._times(total_s, response_s, connect_s, header_s)
        elif total_s < 0.0005:  # So are the others, which lie within it.
            times = self._times_of_an_instant
        else:
            times = self._times_reused % (total_s, response_s, header_s)

        return template % (
            request_id,
            self._time_local,
            answer,
            target,
            record.billed_in,
            record.billed_out,
            times,
            connection.rtt_us,
            connection.requests,
            target.partition(b"?")[0] if 63 in target else target,
            self._no_trouble
            if not record.retries and not record.error_reason
            else self._trouble(record.retries, record.error_reason),
            connection.wire_in,
            connection.wire_out,
        )

    def _prefix(self, record: AccessRecord, fields: object, last: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """What the connection keeps: the last request's fields, whose line it was, what it said, and the template."""
        spoken = (
            record.host,
            record.header(b"user-agent"),
            record.header(b"referer"),
        )
        said = (spoken, record.minor_version, record.upgraded)
        same = last is not None and last[1] is self and last[2] == said
        prefix = (fields, self, said, last[3] if same and last is not None else self._template(record, spoken))
        if len(prefix[3]) <= _MAX_KEPT_BYTES:
            record.connection.log_prefix = prefix
        return prefix

    def _template(self, record: AccessRecord, said: tuple[bytes, bytes, bytes]) -> bytes:
        """The line of this connection and of what its client repeats, with holes for the rest.

        A new connection costs two look-ups and one `%`: what it shares with others is in its frame.
        """
        connection = record.connection
        shared = (
            connection.load_balancer,
            connection.listener,
            connection.local_address,
            connection.local_port,
            record.server_name,
            connection.tls_version,
            connection.cipher,
            connection.resumed,
            record.minor_version,
            record.upgraded,
        )
        frame = self._frames.get(shared)
        if frame is None:
            frame = self._frames[shared] = self._frame(record)
        client = self._clients.get(said)
        if client is None:
            client = self._of_client(*said)
            if sum(map(len, said)) <= _MAX_KEPT_BYTES:  # The value may be cut short; the key is not.
                self._clients[said] = client
        remote = b"%b:%d" % (connection.client_address, connection.client_port)
        return frame % (
            _literal(self._style.escape(remote)),
            client,
            connection.serial,
            b"%.3f" % connection.handshake_s if connection.scheme == b"https" else self._absent,
            connection.handshake_in,
            connection.handshake_out,
        )

    def _frame(self, record: AccessRecord) -> bytes:
        """The template of templates: `%b` is filled in once for a connection, `%%b` once for a line."""
        style, text, number = self._style, self._style.text, self._style.number
        version = b"HTTP/1.%d" % record.minor_version
        parts = [
            text("stgw_request_id", b"%%b"),
            text("time_local", b"%%b"),
            _literal(_literal(self._of_listener(record))),
            text("remote_addr", b"%b"),
            b"%%b %%b " + version + style.close_text,
            number("request_length", b"%%d"),
            number("bytes_sent", b"%%d"),
            b"%b",
            b"%%b",
            number("tcpinfo_rtt", b"%%d"),
            number("connection", b"%d"),
            number("connection_requests", b"%%d"),
            number("ssl_handshake_time", b"%b"),
            _literal(_literal(self._of_tls(record))),
            number("vip_vpcid", b"-1"),
            text("uri", b"%%b"),
            text("server_protocol", version),
            text("listener", _literal(_literal(style.escape_name(record.connection.listener)))),
            b"%%b",
            number("wire_in", b"%%d"),
            number("wire_out", b"%%d"),
            number("handshake_in", b"%d"),
            number("handshake_out", b"%d"),
        ]
        return style.begin + style.separator.join(parts) + style.end

    def _of_listener(self, record: AccessRecord) -> bytes:
        connection, text = record.connection, self._style.text
        protocol = {b"https": (b"HTTPS", b"WSS")}.get(connection.scheme, (b"HTTP", b"WS"))[record.upgraded]
        server = b"%b:%d" % (connection.local_address, connection.local_port)
        return self._style.separator.join(
            [
                text("protocol_type", protocol),
                text("lb_id", self._style.escape_name(connection.load_balancer)),
                text("server_addr", self._style.escape(server)),
                text("server_name", self._style.escape(record.server_name or b"")),
            ]
        )

    def _of_client(self, host: bytes, user_agent: bytes, referer: bytes) -> bytes:
        escape, text = self._style.escape, self._style.text
        return _literal(
            self._style.separator.join(
                [
                    text("http_host", escape(host)),
                    text("http_user_agent", escape(user_agent)),
                    text("http_referer", escape(referer)),
                ]
            )
        )

    def _of_tls(self, record: AccessRecord) -> bytes:
        connection, escape, text = record.connection, self._style.escape, self._style.text
        has_tls = connection.scheme == b"https"
        return self._style.separator.join(
            [
                text("ssl_cipher", escape(connection.cipher if has_tls else b"")),
                text("ssl_protocol", escape(connection.tls_version if has_tls else b"")),
                self._style.reused("ssl_session_reused", connection.resumed if has_tls else None),
            ]
        )

    def _answer(self, record: AccessRecord) -> bytes:
        """From `status` to the method that opens `request`: few combinations, so they are made once."""
        style = self._style
        status = record.upstream_status
        fields = [
            style.number("status", b"%d" % record.status),
            style.text("upstream_addr", style.escape(record.upstream_address)),
            style.number("upstream_status", b"%d" % status if status else self._absent),
            style.text("proxy_host", style.escape_name(record.rule_name)),
            style.open_text("request") + style.escape(record.method),
        ]
        return style.separator.join(fields)

    def _times(self, *seconds: float) -> bytes:
        return self._render_times([b"%.3f" % each if each >= 0.0 else self._absent for each in seconds])

    def _render_times(self, values: Sequence[bytes]) -> bytes:
        names = ("request_time", "upstream_response_time", "upstream_connect_time", "upstream_header_time")
        fields = [self._style.number(name, value) for name, value in zip(names, values, strict=True)]
        return self._style.separator.join(fields)

    def _trouble(self, retries: int, reason: str) -> bytes:
        style = self._style
        counted = style.number("retries", b"%d" % retries)
        return counted + style.separator + style.text("error_reason", style.escape_name(reason))

    def _next_second(self, loop_s: float) -> None:
        wall_s = self._wall_clock(loop_s)
        second = math.floor(wall_s)
        self._time_local = time_local(second, self._local_time)
        self._time_valid_until = loop_s + (second + 1 - wall_s)
