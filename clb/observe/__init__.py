"""What an operator sees: the access log and the operational log."""
