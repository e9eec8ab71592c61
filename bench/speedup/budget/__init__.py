"""The time of ``--minutes``: who gets it, the clock, and when a cell has enough."""
