"""The contract suites: what every model must do, whoever wrote it."""
