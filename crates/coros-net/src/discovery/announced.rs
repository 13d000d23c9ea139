//! What nodes say of themselves on the local network, as services of DNS-SD, and what is taken from
//! it.
//!
//! ```text
//! INSTANCE._coros._tcp.local.    INSTANCE is the launch id, 32 digits
//!   SRV   port, and a host of its own that has the addresses
//!   TXT   v=1  net=HASH          16 digits of a hash of the network's name
//! ```
//!
//! Everyone on the local network can read this, and anyone can say it: so there is no name and no
//! secret in it, and what is found is no more than an endpoint to dial. Who is there TLS finds out.
//!
//! No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use coros_core::remote::NodeId;
use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceEvent, ServiceInfo};

use super::Endpoints;

pub(super) const SERVICE: &str = "_coros._tcp.local.";
/// Of what is announced; others are for other versions.
const VERSION: &str = "1";

/// So many nodes are looked at: more than the responder keeps. It tells of each only once, so none should lose its
/// place; if one more comes before the responder is ended, it takes that of any who is not known.
pub(super) const INSTANCES: usize = 3 << 10;
/// So many endpoints of one of them.
pub(super) const ENDPOINTS: usize = 8;

/// What one node announces.
///
/// # Errors
/// What mdns-sd has against it.
pub(super) fn service(
    network: &str,
    node: NodeId,
    listening: SocketAddr,
) -> Result<ServiceInfo, mdns_sd::Error> {
    let ip = listening.ip();
    let addresses = if ip.is_unspecified() {
        String::new()
    } else {
        ip.to_string()
    };
    let host = format!("coros-{node}.local.");
    let tag = tag(network);
    let properties = [("v", VERSION), ("net", tag.as_str())];
    let instance = node.to_string();
    let info = ServiceInfo::new(
        SERVICE,
        &instance,
        &host,
        addresses.as_str(),
        listening.port(),
        &properties[..],
    )?;
    let mut info = if ip.is_unspecified() {
        info.enable_addr_auto()
    } else {
        info
    };
    // Nobody else has that id, so nobody need be asked whether he has the name.
    info.set_requires_probe(false);
    info.set_interfaces(vec![match ip {
        IpAddr::V4(ip) if ip.is_loopback() => IfKind::LoopbackV4,
        IpAddr::V6(ip) if ip.is_loopback() => IfKind::LoopbackV6,
        IpAddr::V4(_) => IfKind::IPv4,
        // Which takes in connections of version 4 too, but on Windows.
        IpAddr::V6(ip) if ip.is_unspecified() && !cfg!(windows) => IfKind::All,
        IpAddr::V6(_) => IfKind::IPv6,
    }]);
    Ok(info)
}

/// Tells networks apart without naming them.
fn tag(network: &str) -> String {
    let hash = blake3::derive_key("coros 1 network on the local network", network.as_bytes());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The nodes of a network that announce themselves.
pub(super) struct Announced {
    tag: String,
    own: NodeId,
    instances: BTreeMap<NodeId, BTreeSet<SocketAddr>>,
}

impl Announced {
    pub(super) fn new(network: &str, node: NodeId) -> Self {
        Announced {
            tag: tag(network),
            own: node,
            instances: BTreeMap::new(),
        }
    }

    /// Whether the endpoints may have changed. Those who are `known` have shown who they are.
    pub(super) fn handle(&mut self, event: ServiceEvent, known: impl Fn(NodeId) -> bool) -> bool {
        match event {
            ServiceEvent::ServiceResolved(service) => self.resolved(&service, known),
            ServiceEvent::ServiceRemoved(_, name) => {
                instance(&name).is_some_and(|id| self.instances.remove(&id).is_some())
            }
            _ => false,
        }
    }

    fn resolved(&mut self, service: &ResolvedService, known: impl Fn(NodeId) -> bool) -> bool {
        let says = |key| service.get_property_val_str(key);
        let ours = says("v") == Some(VERSION) && says("net") == Some(&*self.tag);
        let Some(id) = instance(service.get_fullname()) else {
            return false;
        };
        if !ours || service.port == 0 || id == self.own {
            return false;
        }
        if self.instances.len() >= INSTANCES && !self.instances.contains_key(&id) {
            let Some(loser) = self.loser(known) else {
                return false;
            };
            self.instances.remove(&loser);
        }
        let addresses = service.addresses.iter();
        let mut endpoints: BTreeSet<_> = addresses
            .filter_map(|ip| endpoint(ip, service.port))
            .collect();
        while endpoints.len() > ENDPOINTS {
            endpoints.pop_last();
        }
        let before = self.instances.insert(id, endpoints.clone());
        before.is_none_or(|before| before != endpoints)
    }

    /// A random one of those who are not known.
    fn loser(&self, known: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        // Without random numbers there is no TLS either.
        let (random, len) = (getrandom::u64().unwrap_or_default(), self.instances.len());
        let start = (random % len.max(1) as u64) as usize;
        let mut all = self.instances.keys().cycle().skip(start).take(len).copied();
        all.find(|id| !known(*id))
    }

    /// Where they are. Nobody is believed to be where somebody else says that he is.
    pub(super) fn endpoints(&self) -> Endpoints {
        let mut endpoints = Endpoints::new();
        for (id, at) in &self.instances {
            for endpoint in at {
                let who = endpoints.entry(*endpoint).or_insert(Some(*id));
                who.take_if(|who| who != id);
            }
        }
        endpoints
    }
}

/// The launch whose name this is, if one can have it.
fn instance(name: &str) -> Option<NodeId> {
    let id = name.strip_suffix(SERVICE)?.strip_suffix('.')?;
    let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = digits.then(|| u128::from_str_radix(id, 16).ok())??;
    Some(NodeId(id))
}

/// Where to dial, if that is a place where a node of another machine, or of this one, can be.
fn endpoint(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    // What comes from a cable says nothing of this machine.
    let is_here = |name: &str| name.to_ascii_lowercase().starts_with("lo");
    match ip {
        ScopedIp::V4(ip) => {
            let (address, heard_on) = (*ip.addr(), ip.interface_ids());
            let fits = !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_broadcast()
                && (!address.is_loopback() || heard_on.iter().all(|on| is_here(&on.name)));
            fits.then(|| (address, port).into())
        }
        ScopedIp::V6(ip) => {
            let (address, scope) = (*ip.addr(), ip.scope_id());
            let fits = !address.is_unspecified()
                && !address.is_multicast()
                && address.to_ipv4_mapped().is_none()
                && (!address.is_loopback() || is_here(&scope.name));
            let scope = if address.is_unicast_link_local() {
                scope.index
            } else {
                0
            };
            fits.then(|| SocketAddrV6::new(address, port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use mdns_sd::{InterfaceId, ScopedIpV4};

    use super::*;

    const PORT: u16 = 7340;

    fn handle(announced: &mut Announced, event: ServiceEvent) -> bool {
        announced.handle(event, |_| false)
    }

    fn announced() -> Announced {
        Announced::new("weather", NodeId(1))
    }

    /// As one who listens there announces himself.
    fn resolved(network: &str, id: u128, at: &[&str]) -> ServiceEvent {
        let listening = (Ipv4Addr::UNSPECIFIED, PORT).into();
        let info = service(network, NodeId(id), listening).unwrap();
        let mut service = info.as_resolved_service();
        service.addresses = at.iter().map(|ip| heard(ip, "eth0")).collect();
        ServiceEvent::ServiceResolved(Box::new(service))
    }

    fn heard(ip: &str, on: &str) -> ScopedIp {
        match ip.parse().unwrap() {
            IpAddr::V4(ip) => ScopedIp::V4(ScopedIpV4::new(
                ip,
                InterfaceId {
                    name: on.into(),
                    index: 7,
                },
            )),
            ip @ IpAddr::V6(_) => ScopedIp::from(ip),
        }
    }

    fn endpoints(announced: &Announced) -> Vec<String> {
        let endpoints = announced.endpoints();
        endpoints.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn who_is_of_the_network_is_found_until_he_leaves() {
        let mut announced = announced();
        assert!(handle(
            &mut announced,
            resolved("weather", 2, &["10.0.0.2"])
        ));
        assert!(
            !handle(&mut announced, resolved("weather", 2, &["10.0.0.2"])),
            "no news"
        );
        assert!(!handle(
            &mut announced,
            resolved("climate", 3, &["10.0.0.3"])
        ));
        assert!(
            !handle(&mut announced, resolved("weather", 1, &["10.0.0.1"])),
            "itself"
        );
        assert!(handle(
            &mut announced,
            resolved("weather", 4, &["10.0.0.4", "fd00::4"])
        ));
        assert_eq!(
            endpoints(&announced),
            ["10.0.0.2:7340", "10.0.0.4:7340", "[fd00::4]:7340"]
        );
        assert!(
            handle(&mut announced, resolved("weather", 4, &["10.0.0.5"])),
            "it has moved"
        );
        let name = format!("{}.{SERVICE}", NodeId(2));
        let left = || ServiceEvent::ServiceRemoved(SERVICE.into(), name.clone());
        assert!(handle(&mut announced, left()));
        assert!(!handle(&mut announced, left()));
        assert_eq!(endpoints(&announced), ["10.0.0.5:7340"]);
    }

    #[test]
    fn nothing_that_is_announced_leads_where_no_node_can_be() {
        let mut announced = announced();
        let wrong = [
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "127.0.0.1",
            "::",
            "ff02::1",
        ];
        handle(&mut announced, resolved("weather", 2, &wrong));
        assert_eq!(endpoints(&announced), [""; 0]);
        assert_eq!(
            endpoint(&heard("127.0.0.1", "lo0"), 9),
            Some(([127, 0, 0, 1], 9).into())
        );
        assert_eq!(endpoint(&heard("::ffff:127.0.0.1", "eth0"), 9), None);

        let ServiceEvent::ServiceResolved(mut service) = resolved("weather", 3, &["10.0.0.3"])
        else {
            panic!("it is one");
        };
        service.port = 0;
        assert!(!handle(
            &mut announced,
            ServiceEvent::ServiceResolved(service)
        ));
    }

    #[test]
    fn who_claims_the_place_of_another_hides_nobody() {
        let mut announced = announced();
        handle(&mut announced, resolved("weather", 2, &["10.0.0.2"]));
        let at = ([10, 0, 0, 2], PORT).into();
        assert_eq!(announced.endpoints()[&at], Some(NodeId(2)));
        handle(&mut announced, resolved("weather", 3, &["10.0.0.2"]));
        assert_eq!(announced.endpoints()[&at], None, "it is to be dialled");
        let names = ["2", &format!("{}x", "0".repeat(31)), &"+".repeat(32)];
        for name in names {
            assert_eq!(instance(&format!("{name}.{SERVICE}")), None, "{name}");
        }
        assert_eq!(
            instance(&format!("{}.{SERVICE}", NodeId(7))),
            Some(NodeId(7))
        );
    }

    #[test]
    fn a_crowd_of_strangers_fills_no_memory() {
        let mut announced = announced();
        let many: Vec<_> = (1..100).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<_> = many.iter().map(|ip| &**ip).collect();
        for id in 0..2 * INSTANCES {
            handle(&mut announced, resolved("weather", 10 + id as u128, &many));
        }
        assert_eq!(announced.instances.len(), INSTANCES);
        assert_eq!(announced.endpoints().len(), ENDPOINTS);
    }

    #[test]
    fn a_crowd_of_strangers_hides_nobody() {
        let mut announced = announced();
        let linked = NodeId(2);
        let known = |id| id == linked;
        announced.handle(resolved("weather", linked.0, &["10.0.0.2"]), known);
        let mut numbers = 1 << 64..;
        let mut crowd = |announced: &mut Announced, size: usize| {
            for id in numbers.by_ref().take(size) {
                announced.handle(resolved("weather", id, &["10.0.0.9"]), known);
            }
        };
        crowd(&mut announced, INSTANCES);
        assert_eq!(announced.instances.len(), INSTANCES);
        // Whoever comes after all of them is seen, and stays for a while: each of them is as likely to go.
        let late = || (0..256).map(|number| NodeId(1 << 32 | number));
        for id in late() {
            let event = resolved("weather", id.0, &["10.0.0.3"]);
            assert!(announced.handle(event, known));
        }
        let stay = |announced: &Announced| {
            let stay = late().filter(|id| announced.instances.contains_key(id));
            stay.count()
        };
        // Of 256, 150 on average, and less than a tenth as many after that.
        crowd(&mut announced, INSTANCES / 2);
        assert!((90..210).contains(&stay(&announced)));
        crowd(&mut announced, 3 * INSTANCES);
        assert!(stay(&announced) < 40, "none has a place for good");
        assert!(announced.instances.contains_key(&linked), "it has a link");

        // Where all are known nobody has to be found.
        let before: Vec<_> = announced.instances.keys().copied().collect();
        assert!(!announced.handle(resolved("weather", 7, &["10.0.0.7"]), |_| true));
        assert!(announced.instances.keys().eq(&before));
    }

    #[test]
    fn what_is_announced_names_nobody() {
        let info = service("weather", NodeId(5), (Ipv6Addr::LOCALHOST, PORT).into()).unwrap();
        let said = format!("{info:?}");
        assert!(!said.contains("weather"), "{said}");
        assert!(!info.requires_probe());
        assert_eq!(info.get_property_val_str("net"), Some(&*tag("weather")));
        assert_eq!(tag("weather").len(), 16);
    }
}
