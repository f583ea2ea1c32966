"""The version of lbcore: the one in pyproject.toml, checked against it by tools/check."""

VERSION = "0.1.0"
