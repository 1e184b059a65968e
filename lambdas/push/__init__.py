"""Sending pushes to phones that sleep."""
