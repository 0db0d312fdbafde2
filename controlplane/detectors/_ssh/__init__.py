"""What the SSH detectors share. No detector: names with an underscore are not loaded as such."""
