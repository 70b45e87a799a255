"""Known speakers: their database, and who of them speaks in a recording."""
