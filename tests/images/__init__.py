"""Images, as far as they can be tested without building one."""
