//! Bytes to messages and back: the streaming replication protocol and its pgoutput plugin.
