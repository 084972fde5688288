//! What goes wrong on the side of the server or of the applications.
