"""Whole platforms in one thread, on a time of their own: engines on a shared store, apps, upstreams, and what goes wrong.

A seed makes a script, the script and the seed make everything that happens: the same seed, the same trace.
"""
