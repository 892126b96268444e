"""The pure planner: from a pipeline and facts about its tasks to what is to be done next, the same on every backend."""
