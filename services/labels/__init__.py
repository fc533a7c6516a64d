"""Candles to labels: what came true after each close."""
