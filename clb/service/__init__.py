"""The running service around the data path.

Owns:      loading what the configuration points to, and starting, changing and stopping what serves it.
Elsewhere: the data path (proxy/), the configuration itself (config/).
"""
