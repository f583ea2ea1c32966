"""Several lbcore nodes behind one address, on this machine: namespaces, what is in front, clients that count what they lose.

Used by `python -m bench.failover` and by tests/front.
"""
