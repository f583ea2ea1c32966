"""The benchmark: no balancer, lbcore, HAProxy and nginx, side by side in one run. `python -m bench` runs it.

scenarios (the table of rows) → run (rounds) → latest.json → render (the page). Standard library only.
"""
