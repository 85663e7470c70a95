"""The machine that all runs on: its devices, how exactly they calculate, and which code runs."""
