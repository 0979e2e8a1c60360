"""The version of the package, which is that of pgconductor."""

__version__ = "0.1.0"
