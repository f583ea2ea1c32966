"""Affinity of prompts, simulated: the engine's own policies over a virtual clock. `python -m bench.prefix`."""
