"""A picture of an agent's processes for forensics: what /proc shows of each, in a tar with a manifest."""
