"""SQLAlchemy tables and migrations. Nothing yet: the room is here so that the import rules already hold for it."""
