"""What a balancer is doing, read from its segment."""
