"""RecurringRun: PipelineRuns made by the clock, one for each tick however often it is asked."""
