"""Predictions and labels to outcomes, skill, the gate and promotion."""
