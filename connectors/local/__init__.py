"""The local stack: NATS and QuestDB on loopback for development, demonstrations and tests."""
