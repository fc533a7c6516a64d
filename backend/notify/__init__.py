"""Tells people and programs outside what happened: outbox, channels, and who empties it."""
