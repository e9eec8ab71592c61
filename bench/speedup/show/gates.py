"""What a regressed cell does to the session."""

FAIL, WARN, OFF = GATES = ("fail", "warn", "off")
