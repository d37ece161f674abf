"""LangGraph lives here and nowhere else: the state, the services and the graph of a search."""
