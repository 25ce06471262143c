"""Configuration: Kafka's keys in one table, typed views of them, and loading from a file, options and
environment.
"""
