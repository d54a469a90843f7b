"""The stages of the flow, each a verb; none imports another."""
