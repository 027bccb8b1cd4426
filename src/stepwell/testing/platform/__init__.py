"""Tools for testing the platform itself; they need the ``server`` extra."""
