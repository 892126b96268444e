"""One machine: a service that owns runs, asks the planner what is next, and has it done and recorded."""
