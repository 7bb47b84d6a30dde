"""What a person launches: the command line and the shipped study files."""
