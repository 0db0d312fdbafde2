"""The sensor's local socket: attest, launch, kill and a few questions, whether the plane lives or not. An op a file."""
