"""The command line: it parses, calls and prints; everything else is elsewhere."""
