"""What users hold: the balancer, its pools and backends, and picks without the proxy."""
