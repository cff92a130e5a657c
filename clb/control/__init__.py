"""Management API and console. Nothing yet: the room is here so that the import rules already hold for it."""
