"""Where the platform keeps its state: one protocol of domain verbs, and its implementations."""
