//! The loop: takes an event, hands it to the core, performs the commands.
