"""QuestDB: schema, writing with a way out when it is slow or gone, draining what took that way, reading."""
