"""papermill for TypeScript notebooks.

papermill imports `engine` while it is itself being imported. Importing it here first makes the order the same when
somebody imports one of our modules directly.
"""

import papermill  # noqa: F401
