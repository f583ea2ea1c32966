"""The engine's shared segment as Python reads it."""
