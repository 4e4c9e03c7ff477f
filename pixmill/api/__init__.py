"""What Python callers use: `pixmill.run`, `pixmill.plan` and what they return.

No module here is called as a function is, which an import would replace by the module.
"""
