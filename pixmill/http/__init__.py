"""One exchange over HTTP with a total deadline: connections, and which addresses may be called."""
