//! The machine that the measuring program runs on; the server's own, if that is another one, is not known.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a figure depends on and no ratio takes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in bytes; 0 where it is not known.
    pub memory_bytes: u64,
    /// The processor's name; empty where it is not known.
    pub processor: String,
    /// The operating system, and its kernel's version where that is known.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory(&read("/proc/meminfo")).unwrap_or(0),
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            system: format!("{} {}", std::env::consts::OS, release.trim())
                .trim_end()
                .to_owned(),
        }
    }
}

fn memory(text: &str) -> Option<u64> {
    let total = field(text, "MemTotal")?;
    let kilobytes: u64 = total.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// What stands behind the first `name:`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(memory("nothing"), None);
        assert!(Machine::here().cores > 0);
    }
}
