"""A run of pytest, in its order: options, plan, fixture, save, verdict, end."""
