"""What the plugin's own tests have as well."""

from bench.speedup.tests.conftest import cache

__all__ = ["cache"]
