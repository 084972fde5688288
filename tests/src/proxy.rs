//! A TCP proxy between engine and server that can cut a connection where it hurts most: after a COMMIT has reached
//! the server and before its answer has reached the engine. It can also cut all of them, hold back everything for a
//! while, or be slow.
//!
//! It reads the client's messages as PostgreSQL's protocol frames them: a tag of one byte and a length.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What befalls the connection that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The COMMIT is not forwarded: *before the work*.
    LoseCommit,
    /// The COMMIT is forwarded, the answer is not: *work done, answer lost*.
    LoseAnswer,
}

/// What lies between engine and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Clear,
    /// Everything takes so much longer, in each direction.
    Slow(Duration),
    /// Nothing comes through. Connections stay open.
    Still,
}

/// A running proxy. Dropping it closes every connection.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    _connections: JoinSet<()>,
}

struct State {
    server_port: u16,
    weather: watch::Sender<Weather>,
    /// Connections opened before it rose are cut.
    cut: watch::Sender<u32>,
    /// Befalls the next COMMIT of all.
    next: Mutex<Option<Fault>>,
    fault: Fault,
    /// A client message that holds this text arms its connection: its next COMMIT is the one.
    trigger: Vec<u8>,
    struck: AtomicU32,
    times: u32,
}

impl Proxy {
    /// Listens on a port of its own. A connection that sends a statement with `trigger` in it meets `fault` at its
    /// next COMMIT; this happens `times` times in all.
    ///
    /// # Errors
    /// No port.
    pub async fn start(server_port: u16, trigger: &str, fault: Fault, times: u32) -> Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let trigger = trigger.as_bytes().to_vec();
        let state = Arc::new(State {
            server_port,
            weather: watch::Sender::new(Weather::Clear),
            cut: watch::Sender::new(0),
            next: Mutex::new(None),
            fault,
            trigger,
            struck: AtomicU32::new(0),
            times,
        });
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, Arc::clone(&state)));
        Ok(Proxy {
            port,
            state,
            _connections: connections,
        })
    }

    /// A proxy that does nothing until it is told to.
    ///
    /// # Errors
    /// No port.
    pub async fn calm(server_port: u16) -> Result<Proxy> {
        Proxy::start(server_port, "", Fault::LoseCommit, 0).await
    }

    /// From now on.
    pub fn weather(&self, weather: Weather) {
        self.state.weather.send_replace(weather);
    }

    /// Closes every connection that is open.
    pub fn cut(&self) {
        self.state.cut.send_modify(|count| *count += 1);
    }

    /// The next COMMIT of any connection meets `fault`.
    pub fn lose_next(&self, fault: Fault) {
        *self.state.next() = Some(fault);
    }

    /// Where to connect instead of to the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often the fault has struck.
    pub fn struck(&self) -> u32 {
        self.state.struck.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(carry(client, Arc::clone(&state)));
    }
}

/// Until either side ends, or the fault strikes: then both are closed.
async fn carry(client: TcpStream, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", state.server_port)).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_deaf = AtomicBool::new(false);
    let mut cut = state.cut.subscribe();
    tokio::select! {
        _ = cut.changed() => {}
        _ = requests(from_client, to_server, &state, &is_deaf) => {}
        _ = answers(from_server, to_client, &state, &is_deaf) => {}
    }
}

/// From the client, message by message.
async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    state: &State,
    is_deaf: &AtomicBool,
) -> std::io::Result<()> {
    // The first message has no tag: start-up, cancel, or a request for TLS, which the engine does not make here.
    let first = client.read_u32().await?;
    forward(&mut client, &mut server, &first.to_be_bytes(), first).await?;
    let mut is_armed = false;
    loop {
        let tag = client.read_u8().await?;
        let length = client.read_u32().await?;
        let body = read_body(&mut client, length).await?;
        // A plan that is stored holds the texts of statements; only one that is run arms.
        is_armed |= tag == b'Q' && holds(&body, &state.trigger);
        let is_commit = tag == b'Q' && body.starts_with(b"COMMIT");
        match is_commit.then(|| state.strike(is_armed)).flatten() {
            Some(Fault::LoseCommit) => return Ok(()),
            Some(Fault::LoseAnswer) => is_deaf.store(true, Ordering::SeqCst),
            None => {}
        }
        state.pass().await;
        server.write_u8(tag).await?;
        server.write_u32(length).await?;
        server.write_all(&body).await?;
    }
}

impl State {
    /// What befalls a COMMIT; counts it.
    fn strike(&self, is_armed: bool) -> Option<Fault> {
        let count = |struck| (struck < self.times).then_some(struck + 1);
        let counted = || {
            self.struck
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count)
        };
        if is_armed && counted().is_ok() {
            return Some(self.fault);
        }
        self.next().take()
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the weather lets something through.
    async fn pass(&self) {
        let mut weather = self.weather.subscribe();
        // The sender is ours: it is there as long as we are.
        let let_through = weather.wait_for(|weather| *weather != Weather::Still).await;
        let delay = match let_through.map(|weather| *weather) {
            Ok(Weather::Slow(delay)) => delay,
            Ok(Weather::Clear | Weather::Still) | Err(_) => return,
        };
        tokio::time::sleep(delay).await;
    }
}

/// From the server, as it comes. Deaf: the first byte of the answer ends the connection.
async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    state: &State,
    is_deaf: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = server.read(&mut buffer).await?;
        if read == 0 || is_deaf.load(Ordering::SeqCst) {
            return Ok(());
        }
        state.pass().await;
        client.write_all(&buffer[..read]).await?;
    }
}

async fn forward(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    head: &[u8],
    length: u32,
) -> std::io::Result<()> {
    let body = read_body(client, length).await?;
    server.write_all(head).await?;
    server.write_all(&body).await
}

/// The length counts itself.
async fn read_body(client: &mut OwnedReadHalf, length: u32) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; length.saturating_sub(4) as usize];
    client.read_exact(&mut body).await?;
    Ok(body)
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && body.windows(text.len()).any(|window| window == text)
}
