"""Signals to a paper account: what they earn after fees, slippage and funding."""
