"""lbcore: a load balancer for Python teams."""
