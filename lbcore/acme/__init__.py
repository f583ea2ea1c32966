"""Certificates from an authority that speaks ACME (RFC 8555): an account, orders, and the thread that renews in time."""
