"""`rubicon run`: start a command as a watched agent, and stay beside it as a shell would.

Nothing heavy is imported before CMD runs.
"""
