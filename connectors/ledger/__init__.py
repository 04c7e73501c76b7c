"""What the loss ledger needs to know, read from the streams and the database; and the rejected messages."""
