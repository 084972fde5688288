//! A pooler in transaction mode, and that it is found out.
//!
//! It does what pgbouncer 1.18 does: a transaction gets the session that was free last, whoever used it before; a
//! connection for replication is refused.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crossfade_lab::server::Server;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::scene::Scene;

/// A message: its kind, and all of its bytes.
type Frame = (u8, Vec<u8>);

/// Sessions that nobody uses, the last one first.
struct Pool {
    socket: PathBuf,
    free: Mutex<Vec<UnixStream>>,
    /// What the server said when a session began: every client is told.
    greeting: Mutex<Vec<u8>>,
}

impl Pool {
    /// Of a server that trusts its socket; the port that it can be reached by.
    async fn start(server: &Server) -> u16 {
        let socket = server.socket_dir().join(format!(".s.PGSQL.{}", server.port()));
        let pool = Arc::new(Pool {
            socket,
            free: Mutex::default(),
            greeting: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let pool = Arc::clone(&pool);
                // A client that goes away ends its task with an error, which is nobody's concern.
                tokio::spawn(async move { pool.serve(client).await.ok() });
            }
        });
        port
    }

    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let startup = startup(&mut client).await?;
        if startup.windows(12).any(|part| part == b"replication\0") {
            let text = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: replication\0\0";
            return client.write_all(&frame(b'E', text)).await;
        }
        let session = self.session().await?;
        self.put_back(session);
        let greeting = self.greeting.lock().unwrap().clone();
        client.write_all(&greeting).await?;
        let mut held = None;
        loop {
            let (kind, bytes) = read_frame(&mut client).await?;
            if kind == b'X' {
                return Ok(());
            }
            let mut session = match held.take() {
                Some(session) => session,
                None => self.session().await?,
            };
            session.write_all(&bytes).await?;
            let idle = match kind {
                b'Q' | b'S' => pass_answer(&mut session, &mut client).await?,
                _ => false,
            };
            match idle {
                true => self.put_back(session),
                false => held = Some(session),
            }
        }
    }

    async fn session(&self) -> std::io::Result<UnixStream> {
        let free = self.free.lock().unwrap().pop();
        if let Some(session) = free {
            return Ok(session);
        }
        let mut session = UnixStream::connect(&self.socket).await?;
        let parameters = b"\0\x03\0\0user\0engine\0database\0postgres\0client_encoding\0UTF8\0\0";
        let length = u32::try_from(parameters.len() + 4).unwrap();
        session
            .write_all(&[&length.to_be_bytes()[..], parameters].concat())
            .await?;
        let mut greeting = Vec::new();
        loop {
            let (kind, bytes) = read_frame(&mut session).await?;
            greeting.extend(bytes);
            if kind == b'Z' {
                *self.greeting.lock().unwrap() = greeting;
                return Ok(session);
            }
        }
    }

    fn put_back(&self, session: UnixStream) {
        self.free.lock().unwrap().push(session);
    }
}

/// Passes on what a session answers; whether it is outside of a transaction then.
async fn pass_answer(session: &mut UnixStream, client: &mut TcpStream) -> std::io::Result<bool> {
    loop {
        let (kind, bytes) = read_frame(session).await?;
        client.write_all(&bytes).await?;
        if kind == b'Z' {
            return Ok(bytes[5] == b'I');
        }
    }
}

/// The client's first message, after its wish for TLS.
async fn startup(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    loop {
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        if body != [0x04, 0xd2, 0x16, 0x2f] {
            return Ok(body);
        }
        client.write_all(b"N").await?;
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Frame> {
    let kind = stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok((kind, frame(kind, &body)))
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused() {
    let scene = Scene::new().await;
    let port = Pool::start(&scene.server).await;
    let case = format!("port={port} sslmode=prefer");
    scene.keeps_followers_out(&case, "this is a pooler").await;
    scene
        .program_refuses(
            &case,
            "by a pooler in transaction mode; connect to PostgreSQL itself",
        )
        .await;
    // The server itself is not taken for one.
    let session = scene.session("").await;
    session.refuse_pooler().await.unwrap();
}
