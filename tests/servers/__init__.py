"""Real Python servers behind lbcore, nginx and HAProxy: what they do, and what a balancer in front makes of it.

`tools/servers` measures all of them; `tests/l7/test_servers.py` does the same, in less time, with those that are most in use.
"""
