"""Tests, and the doubles and builders they share."""
