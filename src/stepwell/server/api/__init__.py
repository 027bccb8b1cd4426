"""The HTTP API: events in, apps registered, runs read and cancelled. Decides nothing; asks the engine through a facade."""
