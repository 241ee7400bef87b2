//! Where an ensemble is: `HOST:PORT[,HOST:PORT]/path`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The servers of an ensemble and the cluster's place in its tree, `HOST:PORT[,HOST:PORT]/path`.
/// A server without a port has 2181.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    servers: Vec<String>,
    root: String,
}

/// An address that is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("ZooKeeper's address {address:?} is not HOST:PORT[,HOST:PORT]/path: {reason}")]
pub struct AddressError {
    address: String,
    reason: &'static str,
}

impl Address {
    /// Each server as `HOST:PORT`.
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The path, `/rangekeeper/NAME`, without a slash at the end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The servers as the client of ZooKeeper wants them.
    pub(crate) fn servers_joined(&self) -> String {
        self.servers.join(",")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.servers_joined(), self.root)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(address: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError { address: address.to_owned(), reason };
        let (servers, path) = address.split_once('/').ok_or_else(|| wrong("it has no path"))?;
        let servers = servers.split(',').map(server).collect::<Result<_, _>>().map_err(wrong)?;
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong("a part of the path is empty"));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if parts.iter().any(|part| matches!(*part, "." | "..") || !part.chars().all(fits)) {
            return Err(wrong("a path has letters, digits, '-', '_' and '.'"));
        }
        if parts[0] == "zookeeper" {
            return Err(wrong("/zookeeper is the ensemble's own"));
        }
        Ok(Self { servers, root: format!("/{}", parts.join("/")) })
    }
}

fn server(text: &str) -> Result<String, &'static str> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address are within its brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, "2181"),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("a server has no host");
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => Err("a server's port is not one of 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_servers_and_path() {
        let address: Address = "zk1:2182,zk2,[::1]:9/rangekeeper/prod/".parse().unwrap();
        assert_eq!(address.servers(), ["zk1:2182", "zk2:2181", "[::1]:9"]);
        assert_eq!(address.root(), "/rangekeeper/prod");
        assert_eq!(address.to_string(), "zk1:2182,zk2:2181,[::1]:9/rangekeeper/prod");
    }

    #[test]
    fn refuses_what_is_no_address() {
        for (text, reason) in [
            ("zk1:2181", "no path"),
            ("zk1:2181/", "empty"),
            ("zk1:2181/a//b", "empty"),
            ("zk1:0/a", "port"),
            ("zk1:x/a", "port"),
            (":2181/a", "host"),
            ("zk1,,zk2/a", "host"),
            ("zk1/a/../b", "letters"),
            ("zk1/zookeeper/quota", "own"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }
}
