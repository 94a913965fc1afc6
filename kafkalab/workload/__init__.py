"""Built-in traffic by a stranger's client: what it does to the cluster is what any client does."""
