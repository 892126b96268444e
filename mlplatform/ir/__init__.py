"""KFP's PipelineSpec as frozen dataclasses: load, dump, validate with every finding, the graph, platform documents."""
