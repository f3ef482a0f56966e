"""What runs: thin routes and handlers over use cases."""
