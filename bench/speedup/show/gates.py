"""What a regressed cell does to the session."""

FAIL, NEW, WARN, OFF = GATES = ("fail", "new", "warn", "off")
