"""Which real server takes a request: schedulers, stickiness, retry budget. Pure: no sockets, no clock."""
