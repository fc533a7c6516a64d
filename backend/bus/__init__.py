"""The roads between rooms."""
