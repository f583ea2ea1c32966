"""Options, settings and configuration files."""
