"""What keeps a balancer running: workers, listening sockets, adoption, privileges, and the service manager."""
