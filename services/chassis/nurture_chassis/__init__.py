"""What every Nurture service stands on: settings, clock, bus, database, outbox, pace, health, telemetry."""
