"""The `clb` command.

Owns:      the words of the command line and what they print, one file per command group.
Elsewhere: doing it (service/ and below).
"""
