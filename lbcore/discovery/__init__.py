"""Who can serve: evidence, the rules that judge it, and where it comes from."""
