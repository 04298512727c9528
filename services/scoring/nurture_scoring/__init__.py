"""Engagement scores."""
