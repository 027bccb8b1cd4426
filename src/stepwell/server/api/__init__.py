"""The HTTP API: events in, apps registered, runs read and cancelled. Decides nothing: a facade of the engine does."""
