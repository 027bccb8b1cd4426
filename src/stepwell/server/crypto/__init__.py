"""Encryption at rest: keys (where they come from, how they rotate) and sealing (what is done with them)."""
