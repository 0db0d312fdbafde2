"""Who did what: every call and every automatic response that changes something, with the identity that asked."""
