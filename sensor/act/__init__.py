"""What the sensor does to processes: enrol them as agents, contain and kill them. All of it blocks, so callers use a thread."""
