"""One small module for each queue engine, imported only when the configuration names it.

Each module has a class for :class:`logrotor.jobs.engine.Engine`, and an attribute that the engine's own worker
loads in its process: made on first access, from the configuration that ``$LOGROTOR_CONFIG`` names.
"""
