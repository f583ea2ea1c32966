"""Engines that a site runs to tell who serves: etcd, Consul, Kubernetes, NATS. Each module is loaded when a pool names it."""
