"""What the platform does, whatever stores it is made of."""
