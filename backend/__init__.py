"""Everything that touches the machine: store, served API, page, metrics, command line."""
