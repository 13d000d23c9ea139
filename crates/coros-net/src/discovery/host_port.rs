//! A host and a port, as people write them.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// Where to dial: `HOST:PORT`, where the host is a name or an address; `[ADDRESS]:PORT` for IPv6.
///
/// For command lines and files; [`Builder::peer`](crate::Builder::peer) takes it. Whether there is such
/// a host is another question.
///
/// ```
/// use coros_net::HostPort;
///
/// let farm: HostPort = "farm.example:7340".parse()?;
/// assert_eq!((farm.host(), farm.port()), ("farm.example", 7340));
/// let error = "farm.example".parse::<HostPort>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "a port is missing: give HOST:PORT, such as farm.example:7340"
/// );
/// # Ok::<(), coros_net::NotHostPort>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Why a text is no [`HostPort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotHostPort(&'static str);

impl HostPort {
    /// A name or an address; one of IPv6 without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// From 1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it says if it is no name, which stands for others at other times.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.to_string().parse().ok()
    }
}

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        let wrong = |why| Err(NotHostPort(why));
        let Some((host, port)) = text.rsplit_once(':') else {
            return wrong("a port is missing: give HOST:PORT, such as farm.example:7340");
        };
        if host.is_empty() {
            return wrong("a host is missing: give HOST:PORT, such as farm.example:7340");
        }
        let host = match text.parse::<SocketAddrV6>() {
            Ok(_) => host.trim_matches(['[', ']']),
            Err(_) if host.contains(['/', '[', ']', '@']) || host.contains(char::is_whitespace) => {
                return wrong("that is no host: give HOST:PORT, such as farm.example:7340");
            }
            Err(_) if host.contains(':') => {
                return wrong("an address of IPv6 is given as [ADDRESS]:PORT, such as [::1]:7340");
            }
            Err(_) => host,
        };
        match port.parse() {
            Ok(port @ 1..) => Ok(HostPort {
                host: host.to_owned(),
                port,
            }),
            _ => wrong("the port is no number from 1 to 65535"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_port() {
        for (right, host, address) in [
            ("farm.example:7000", "farm.example", false),
            ("10.0.0.7:1", "10.0.0.7", true),
            ("[::1]:65535", "::1", true),
            ("[fe80::1%2]:9", "fe80::1%2", true),
        ] {
            let parsed: HostPort = right.parse().unwrap();
            assert_eq!(parsed.host(), host);
            assert_eq!(parsed.to_string(), right);
            assert_eq!(parsed.endpoint().is_some(), address);
        }
        for (wrong, why) in [
            ("", "a port is missing"),
            ("farm", "a port is missing"),
            (":7000", "a host is missing"),
            ("farm:", "the port is no"),
            ("farm:0", "the port is no"),
            ("[::1]:0", "the port is no"),
            ("farm:70000", "the port is no"),
            ("farm:http", "the port is no"),
            ("a b:1", "that is no host"),
            ("http://farm:1", "that is no host"),
            ("[::1:7", "that is no host"),
            ("[]:7", "that is no host"),
            ("[farm]:7", "that is no host"),
            ("::1:7", "such as [::1]:7340"),
        ] {
            let error = wrong.parse::<HostPort>().unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
