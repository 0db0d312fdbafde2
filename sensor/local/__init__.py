"""The sensor's local socket: attest, launch, kill and a few questions, while the plane is dead or alive. An op a file."""
