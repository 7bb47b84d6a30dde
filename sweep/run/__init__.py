"""The run of a study: the driver, the scheduler that orders its trials, and its deadline."""
