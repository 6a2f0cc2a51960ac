"""What the lifecycle server and execd both stand on."""
