"""The failures that shaped Kafka, as scripts: each runs in the simulator and on a live cluster, and says whether the promise held."""
