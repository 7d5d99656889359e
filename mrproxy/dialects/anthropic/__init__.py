"""Pure. Anthropic's shapes: the dialect of `/anthropic/v1` and of `/v1/messages`."""
