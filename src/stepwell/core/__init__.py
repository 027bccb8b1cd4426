"""The engine's mind: pure functions from a run's state and an input to a transition. No IO, clock or randomness."""
