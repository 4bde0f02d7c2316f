"""papermill for TypeScript notebooks. Empty on purpose: papermill imports `engine` while it is itself being imported."""
