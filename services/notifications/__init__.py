"""Who is told what: events of the record become notices, rules choose, words are found."""
