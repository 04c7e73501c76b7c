"""The way in over HTTP: frames, observations, questionnaires, checked by the flow's own validator, into JetStream."""
