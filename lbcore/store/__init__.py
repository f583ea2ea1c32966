"""Stores of keys that several balancers share: a small interface, and etcd behind it."""
