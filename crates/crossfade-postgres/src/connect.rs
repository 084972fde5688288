//! Where to connect and as whom: connection strings, PG* environment, password file.
