"""From what the planner wants to Kubernetes objects: pure, and the same every time."""
