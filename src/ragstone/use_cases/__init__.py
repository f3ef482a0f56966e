"""One module an action. Knows ports and domain, never a technology."""
