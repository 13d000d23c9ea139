//! Where names lead, as of when they were found last.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{HostPort, Resolve};

#[derive(Debug)]
pub(super) struct Lookup {
    resolver: Arc<dyn Resolve>,
    names: HashMap<HostPort, Found>,
    /// What is to be told.
    failures: VecDeque<Failure>,
}

/// A name that is not found, and why.
pub(super) type Failure = (HostPort, Arc<str>);

#[derive(Debug, Default)]
struct Found {
    endpoints: Vec<SocketAddr>,
    /// What has been told of a failure.
    told: Option<String>,
}

impl Lookup {
    pub(super) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Lookup {
            resolver,
            names: HashMap::new(),
            failures: VecDeque::new(),
        }
    }

    /// Looks a name up; whether it is found. If not, that is a [failure](Lookup::failure) to tell, once
    /// until it changes.
    pub(super) async fn look_up(&mut self, name: &HostPort) -> bool {
        let found = self.resolver.resolve(name.host(), name.port()).await;
        let is_found = found.is_ok();
        if let Some(error) = self.news(name, found) {
            let why = format!("cannot look up where {name} is: {error}");
            self.failures.push_back((name.clone(), why.into()));
        }
        is_found
    }

    /// The next one to tell.
    pub(super) fn failure(&mut self) -> Option<Failure> {
        self.failures.pop_front()
    }

    /// What went wrong, if that is news.
    fn news(&mut self, name: &HostPort, found: io::Result<Vec<SocketAddr>>) -> Option<String> {
        let known = self.names.entry(name.clone()).or_default();
        match found {
            Ok(endpoints) => {
                known.endpoints = endpoints;
                known.told = None;
                None
            }
            Err(error) => {
                let error = Some(error.to_string());
                if known.told == error {
                    return None;
                }
                known.told.clone_from(&error);
                error
            }
        }
    }

    /// Where it was when it was found: what was there may be there still.
    pub(super) fn endpoints(&self, name: &HostPort) -> impl Iterator<Item = SocketAddr> {
        let found = self.names.get(name);
        found
            .into_iter()
            .flat_map(|it| it.endpoints.iter().copied())
    }

    /// The others are not asked for any more.
    pub(super) fn retain(&mut self, of_interest: impl Fn(&HostPort) -> bool) {
        self.names.retain(|name, _| of_interest(name));
    }
}

#[cfg(test)]
mod tests {
    use super::super::SystemResolver;
    use super::*;

    #[test]
    fn what_goes_wrong_is_told_once_until_it_changes() {
        let mut lookup = Lookup::new(Arc::new(SystemResolver));
        let [farm, wall] = ["farm:1", "wall:1"].map(|it| it.parse().unwrap());
        let mut told = |name, found: Result<u16, &str>| {
            let found = found.map(|port| vec![([10, 0, 0, 1], port).into()]);
            let told = lookup.news(name, found.map_err(io::Error::other));
            let ports = lookup.endpoints(name).map(|it| it.port());
            (told, ports.collect::<Vec<_>>())
        };
        let news = |error: &str| Some(error.to_owned());
        assert_eq!(told(&farm, Err("gone")), (news("gone"), vec![]));
        assert_eq!(told(&farm, Err("gone")), (None, vec![]));
        assert_eq!(told(&wall, Err("gone")), (news("gone"), vec![]));
        assert_eq!(told(&farm, Err("lost")), (news("lost"), vec![]));
        assert_eq!(told(&farm, Ok(7)), (None, vec![7]));
        // What was found may be there still.
        assert_eq!(told(&farm, Err("lost")), (news("lost"), vec![7]));
        lookup.retain(|name| *name == wall);
        assert!(lookup.names.keys().eq([&wall]));
    }
}
