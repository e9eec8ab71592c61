"""Keeping: saved runs, people's decisions and curves in a store, and the store on a git branch."""
