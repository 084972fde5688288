//! What the user asks for: the change file and ALTER statements, parsed.
