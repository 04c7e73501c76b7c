"""Bridges to the queues that hospitals have: frames in from Kafka and AMQP, alerts out to them."""
