"""A model and a feature set for AlphaPulse."""
