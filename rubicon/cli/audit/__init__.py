"""The commands of `rubicon audit`, one a file. Each module has COMMAND, as those of command/ have."""
