"""Apache Kafka 3.9 and pybroker are asked the same, and must answer the same: field by field."""
