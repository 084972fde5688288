//! A session of the engine: opened with pinned settings, named, known by its backend.
