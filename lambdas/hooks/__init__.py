"""Webhooks: what is told to them, and how it gets there."""
