"""A generative model for other processes, over OpenAI's protocol."""
