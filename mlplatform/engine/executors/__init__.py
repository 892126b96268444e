"""Ways to run one attempt of a task: a process forked or spawned here, a command, a container."""
