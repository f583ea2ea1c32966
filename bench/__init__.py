"""The benchmark: no balancer, lbcore, HAProxy, nginx and others, side by side in one run. `python -m bench` runs it.

scenarios and sweeps (the table of rows) → run (rounds) → latest.json → render (the page), plots (its figures). Standard
library only; plots.py needs matplotlib.
"""
