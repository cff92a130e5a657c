"""A TLS 1.3 client on standard input and output, for one handshake.

Owns:      a program of its own, started by trial_handshake.py with an OpenSSL configuration that names the
           one suite to offer. `ssl` cannot choose among the suites of TLS 1.3, and OpenSSL reads that
           configuration once per process. Exit status 0 if the handshake succeeded.
"""

from __future__ import annotations

import os
import ssl
import sys

READ_BYTES = 65536


def main() -> int:
    """Shake hands and say whether that went well."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # A small key of the server is not what is asked about.
    context.set_ciphers("ALL:@SECLEVEL=0")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            os.write(1, outgoing.read())
        except ssl.SSLError:
            os.write(1, outgoing.read())
            return 1
        else:
            os.write(1, outgoing.read())
            return 0
        if not (data := os.read(0, READ_BYTES)):
            return 1
        incoming.write(data)


if __name__ == "__main__":
    sys.exit(main())
