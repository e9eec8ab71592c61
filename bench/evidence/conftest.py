"""The option that lets the regressions in."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inject", action="store_true", help="Switch the regressions on. Without it, nothing is changed.")
