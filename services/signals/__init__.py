"""Predictions to signals: the policy and the life of a signal."""
