"""The dialects of chats, each by a caller of its own."""
