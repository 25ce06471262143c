"""The instruments: clock, timers, gauges, and what plugs into the seam of dispatch. Free when unused."""
