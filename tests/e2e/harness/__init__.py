"""What the end-to-end tests share: a cluster of real processes, a stranger's client, golden results."""
