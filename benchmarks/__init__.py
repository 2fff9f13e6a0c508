"""Measurements that take too long or vary too much for a test."""
