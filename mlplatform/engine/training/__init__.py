"""Training jobs on one machine: the brain that a cluster has too drives a process for each rank."""
