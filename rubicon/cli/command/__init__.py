"""The commands, one a file. Each module has COMMAND, a click command; framework.py says how to write one."""
