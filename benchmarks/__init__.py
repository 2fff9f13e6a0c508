"""Measurements: what is too long or too noisy for a test."""
