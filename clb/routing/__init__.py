"""Which rule serves a request: domain and URL matching, redirects. Pure: no sockets, no clock."""
