"""What a user imports and types: the typed client, the CLI, the generated wire."""
