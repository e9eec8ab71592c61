"""Showing: progress, tables, the summary and the report, and the words that they share."""
