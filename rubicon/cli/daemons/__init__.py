"""Plane and sensor as processes of this host: start, supervise, stop. Both are reached by their console scripts only."""
