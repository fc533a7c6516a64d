"""Collectors: candles come in from exchanges, are checked, and leave as batches."""
