"""Flow control: who may start, and when. Pure."""
