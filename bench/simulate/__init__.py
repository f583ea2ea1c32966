"""Simulations of the policies: the real ones, through the same C code, over a virtual clock. `python -m bench.simulate`."""
