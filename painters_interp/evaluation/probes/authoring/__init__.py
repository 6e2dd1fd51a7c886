"""What makes the generated probes; nothing here runs when they are scored."""
