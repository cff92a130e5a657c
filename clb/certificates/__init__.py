"""Certificates, private keys, CAs and revocation lists: PEM in, checked objects out.

Owns:      what is accepted and the error of everything that is not (code, message, fix).
Elsewhere: reading files (service/materials.py), TLS contexts made of them (tls/).
Pure:      bytes in; the time of validity checks is passed in. No text of an error ever holds key material.
"""
