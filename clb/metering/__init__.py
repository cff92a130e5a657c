"""The byte ledger: counters per connection, listener and rule. Durable storage joins at `ListenerLedger`."""
