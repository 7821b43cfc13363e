"""The relay at work in front of your eyes: `make demo`. Real processes, real faults, a verdict. Not shipped."""
