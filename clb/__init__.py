"""clb: an HTTPS-terminating reverse-proxy load balancer with a byte ledger."""

__version__ = "0.1.0"
