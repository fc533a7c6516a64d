"""The rooms: each turns one kind of event into the next, without I/O."""
