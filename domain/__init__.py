"""The shared language: instruments, the events that travel, topics, ports and errors."""
