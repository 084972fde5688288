//! Prints pgoutput messages given in hexadecimal, one argument each, in stream order; without arguments, a small
//! transaction.
//!
//! To see what a server sends, paste `encode(data, 'hex')` of `pg_logical_slot_peek_binary_changes`:
//!
//! ```text
//! cargo run -p pgoutput --example decode -- 59000040017075626c6963006d6f6f6400
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use bytes::Bytes;
use pgoutput::Decoder;

/// `UPDATE` of a key in PostgreSQL 15; the last column is TOASTed and was not sent again.
const TRANSACTION: [&str; 4] = [
    "420000000001543fa8000303dd9e2fb957000002e2",
    "52000040057075626c6963006f72646572730064000301696400000000\
     17ffffffff006e6f74650000000019ffffffff006269670000000019ffffffff",
    "55000040054b00037400000001316e6e4e0003740000000231306e75",
    "43000000000001543fa80000000001543fd8000303dd9e2fb957",
];

fn unhex(text: &str) -> Result<Bytes, Box<dyn Error>> {
    let (digits, []) = text.as_bytes().as_chunks::<2>() else {
        return Err(format!("an odd number of hexadecimal digits: {}", text.len()).into());
    };
    digits
        .iter()
        .map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?))
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut messages: Vec<String> = std::env::args().skip(1).collect();
    if messages.is_empty() {
        messages = TRANSACTION.map(str::to_owned).to_vec();
    }
    let mut decoder = Decoder::new();
    for hex in &messages {
        println!("{:?}", decoder.decode(unhex(hex)?)?);
    }
    Ok(())
}
