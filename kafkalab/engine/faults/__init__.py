"""What can be made to fail on purpose."""
