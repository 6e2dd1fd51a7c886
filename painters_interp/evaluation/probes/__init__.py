"""Five small lm-eval tasks that need no data hub: YAML definitions and their JSONL items."""
