"""PipelineRun: one pod a task, decided by the planner that one machine has too."""
