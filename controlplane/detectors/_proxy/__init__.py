"""Work by proxy: who can be asked (brokers), what was asked (wishes), what is asked on a local port (ports)."""
