"""From values to what a person or a program reads: tables, lines, JSON. Nothing that an agent chose reaches a terminal
unneutralised (safe.py)."""
