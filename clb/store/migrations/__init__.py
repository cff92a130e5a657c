"""Migrations of the store, oldest first: each is run once, and never changed after a release."""
