"""The wire contract and the tables: what the parts agree on."""
