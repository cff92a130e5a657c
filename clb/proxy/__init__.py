"""The data path, in the order bytes take: listener, downstream, exchange, pool, upstream, tunnel, replies."""
