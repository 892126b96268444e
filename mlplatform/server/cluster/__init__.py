"""The server in a cluster: runs are PipelineRun objects; the store keeps their history, which outlives them."""
