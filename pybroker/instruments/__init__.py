"""The instruments: clock, timers, stall gauge, counters and the two seams of dispatch. Free when unused."""
