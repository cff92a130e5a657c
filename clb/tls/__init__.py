"""TLS on the client's side: policies, contexts, verdicts on handshakes, what a client certificate proved."""
