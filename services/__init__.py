"""Real servers for the tests, the demo and the bench: started privately, stopped for certain. Not shipped."""
