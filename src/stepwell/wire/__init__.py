"""The protocol: shapes, ids and signatures shared by the SDK and the server. No IO, no clock, no randomness."""
