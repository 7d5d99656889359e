"""Pure. OpenAI's Responses: requests of input items, answers of output items, a stream of named events."""
