"""The relay under faults made for real, and a checker that can fail: `make chaos`, `make kills`. Not shipped."""
