"""Payloads read without running them (`inspect`), and loads that fail, explained."""
