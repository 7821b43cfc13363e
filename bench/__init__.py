"""How fast the relay is: its real command beside a usual loop, on the same table and queue. Not shipped."""
