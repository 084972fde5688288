//! Where the application connects to.

use tokio::sync::watch;

/// A connection string that can be replaced while the application runs. Clones are the same route.
#[derive(Clone, Debug)]
pub struct Route {
    sender: watch::Sender<String>,
}

impl Route {
    /// Leads to `connection`, a libpq keyword string or URL.
    pub fn new(connection: impl Into<String>) -> Route {
        Route {
            sender: watch::Sender::new(connection.into()),
        }
    }

    /// Leads to `connection` from now on: each writer ends the transaction at hand, closes, and connects there.
    pub fn redirect(&self, connection: impl Into<String>) {
        self.sender.send_replace(connection.into());
    }

    /// Where it leads to.
    pub fn current(&self) -> String {
        self.sender.borrow().clone()
    }

    /// To be told of redirects.
    pub(super) fn watch(&self) -> watch::Receiver<String> {
        self.sender.subscribe()
    }
}

impl From<String> for Route {
    fn from(connection: String) -> Route {
        Route::new(connection)
    }
}
