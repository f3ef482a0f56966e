"""The check-up of the stores, and their repair, on a live system (DESIGN.md section 4, Recovery and doctor; ADR 0012)."""
