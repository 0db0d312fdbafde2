"""Measurements against the bars of docs/performance.md: `make bench`.

Nothing here is a test. Every figure is taken with Rubicon down and up in turn, in the same run, because machines drift.
"""
