//! The engine dies, is interrupted, or never hears the answer.
