"""Who may come in: keys, signed identities (JWT), certificates, and the registry of what was handed out."""
