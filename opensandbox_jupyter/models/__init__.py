"""Nouns: plain data with units, shared by everything above."""
