//! A TCP balancer: one address that leads to two servers, connection by connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running balancer. Dropping it closes every connection.
pub struct Balancer {
    port: u16,
    state: Arc<State>,
    _connections: JoinSet<()>,
}

struct State {
    ports: [u16; 2],
    /// Connections that still go to the first server. Then one goes to the second, one to the first, and so on.
    straight: AtomicUsize,
    turn: AtomicUsize,
}

impl Balancer {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// No port.
    pub async fn start(ports: [u16; 2]) -> Result<Balancer> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            ports,
            straight: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        });
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, Arc::clone(&state)));
        Ok(Balancer {
            port,
            state,
            _connections: connections,
        })
    }

    /// The next `count` connections go to the first server, and those behind them to both in turns, the second one first.
    pub fn straight(&self, count: usize) {
        self.state.turn.store(0, Ordering::SeqCst);
        self.state.straight.store(count, Ordering::SeqCst);
    }

    /// How many connections have come behind those: the first of them, and each other one, went to the second server.
    pub fn in_turns(&self) -> usize {
        self.state.turn.load(Ordering::SeqCst)
    }

    /// Where to connect instead of to a server.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl State {
    fn next(&self) -> u16 {
        let one_less = |left: usize| left.checked_sub(1);
        let straight = self
            .straight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        match straight {
            Ok(_) => self.ports[0],
            Err(_) => self.ports[(self.turn.fetch_add(1, Ordering::SeqCst) + 1) % 2],
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(carry(client, state.next()));
    }
}

/// Until either side ends.
async fn carry(mut client: TcpStream, port: u16) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    copy_bidirectional(&mut client, &mut server).await.ok();
}
