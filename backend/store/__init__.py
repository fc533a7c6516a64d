"""The record: PostgreSQL tables, how rows enter them, and how they are read back."""
