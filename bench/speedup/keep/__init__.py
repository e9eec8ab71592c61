"""Keeping: saved runs, decisions, what was settled and curves in a store, and the store on a git branch."""
