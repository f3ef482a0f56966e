"""The bodies that the API takes and gives, as its OpenAPI document describes them."""
