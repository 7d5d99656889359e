"""Pure. Mock inference engines: faithful on the wire, simulated behind it, each in its own process."""
