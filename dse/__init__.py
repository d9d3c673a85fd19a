"""The design-space exploration: configuration, search, records, fronts, export, command line."""
