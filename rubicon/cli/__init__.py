"""What a person types. A command a file (command/), an ordered tuple of them (commands.py), one renderer (render/), and
one place that knows exit codes (main.py). Modules are loaded when their command is used: `rubicon run` has 150 ms."""
