"""Secrets by reference: where their values come from, and the fetcher that fills them in at the moment of sending."""
