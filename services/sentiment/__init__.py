"""Sentiment: texts in, scores by asset out; what is said at a close is what was known by then."""
