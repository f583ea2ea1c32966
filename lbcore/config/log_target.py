"""What an access_log may name beside a file."""

SYSLOG = "syslog"
OUTPUTS = {"stdout": 1, "stderr": 2}
"""The process's own, and their descriptors."""


def is_path(target: str) -> bool:
    """Does an access_log name a file?"""
    return target not in OUTPUTS and target != "off" and target.partition(":")[0] != SYSLOG
