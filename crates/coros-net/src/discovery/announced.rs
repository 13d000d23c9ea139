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

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use coros_core::remote::NodeId;
use mdns_sd::{IfKind, ResolvedService, ScopedIp, ServiceEvent, ServiceInfo};

use super::Said;
use super::dialler::ENDPOINTS;

pub(super) const SERVICE: &str = "_coros._tcp.local.";
/// Of what is announced; others are for other versions.
const VERSION: &str = "1";

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

/// Which network is listened for.
pub(super) struct Listener {
    tag: String,
    own: NodeId,
}

impl Listener {
    pub(super) fn new(network: &str, node: NodeId) -> Self {
        Listener {
            tag: tag(network),
            own: node,
        }
    }

    /// What is said of another node of the network.
    pub(super) fn said(&self, event: ServiceEvent) -> Option<Said> {
        let (name, endpoints) = match event {
            ServiceEvent::ServiceResolved(service) => {
                (service.get_fullname().to_owned(), self.endpoints(&service)?)
            }
            ServiceEvent::ServiceRemoved(_, name) => (name, BTreeSet::new()),
            _ => return None,
        };
        let id = instance(&name).filter(|id| *id != self.own)?;
        Some((id, endpoints))
    }

    fn endpoints(&self, service: &ResolvedService) -> Option<BTreeSet<SocketAddr>> {
        let says = |key| service.get_property_val_str(key);
        let ours = says("v") == Some(VERSION) && says("net") == Some(&*self.tag);
        if !ours || service.port == 0 {
            return None;
        }
        let addresses = service.addresses.iter();
        let endpoints = addresses.filter_map(|ip| endpoint(ip, service.port));
        // In no order: if there are more, some of others among them, it is chance which are taken.
        Some(endpoints.take(ENDPOINTS).collect())
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

    fn said(event: ServiceEvent) -> Option<(u128, Vec<String>)> {
        let (id, endpoints) = Listener::new("weather", NodeId(1)).said(event)?;
        Some((id.0, endpoints.iter().map(ToString::to_string).collect()))
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

    #[test]
    fn who_is_of_the_network_is_found_until_he_leaves() {
        let at = |ips: &[&str]| said(resolved("weather", 4, ips));
        let is = |endpoints: &[&str]| {
            let endpoints = endpoints.iter().map(ToString::to_string);
            Some((4, endpoints.collect::<Vec<_>>()))
        };
        let both = ["10.0.0.4:7340", "[fd00::4]:7340"];
        assert_eq!(at(&["fd00::4", "10.0.0.4"]), is(&both));
        assert_eq!(said(resolved("climate", 4, &["10.0.0.4"])), None);
        assert_eq!(said(resolved("weather", 1, &["10.0.0.1"])), None, "itself");
        let removed = |id| {
            let name = format!("{}.{SERVICE}", NodeId(id));
            ServiceEvent::ServiceRemoved(SERVICE.into(), name)
        };
        assert_eq!(said(removed(4)), is(&[]));
        assert_eq!(said(removed(1)), None, "itself");
        let many: Vec<_> = (1..100).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<_> = many.iter().map(|ip| &**ip).collect();
        assert_eq!(at(&many).map(|(_, at)| at.len()), Some(ENDPOINTS));
    }

    #[test]
    fn whoever_adds_addresses_does_not_choose_which_of_them_count() {
        let finds = |strangers: u8| {
            let ips = (0..strangers).map(|n| format!("10.0.0.{n}"));
            let ips: Vec<_> = ips.chain(["192.168.1.7".into()]).collect();
            let ips: Vec<_> = ips.iter().map(|ip| &**ip).collect();
            let (_, at) = said(resolved("weather", 4, &ips)).unwrap();
            at.contains(&format!("192.168.1.7:{PORT}"))
        };
        assert!(finds(8) && finds(ENDPOINTS as u8 - 1));
        // Every third time or so.
        assert!((0..100).any(|_| finds(200)));
    }

    #[test]
    fn nothing_that_is_announced_leads_where_no_node_can_be() {
        let wrong = [
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "127.0.0.1",
            "::",
            "ff02::1",
        ];
        assert_eq!(said(resolved("weather", 2, &wrong)), Some((2, Vec::new())));
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
        assert_eq!(said(ServiceEvent::ServiceResolved(service)), None);
    }

    #[test]
    fn no_other_name_is_taken_for_a_launch() {
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
    fn what_is_announced_names_nobody() {
        let info = service("weather", NodeId(5), (Ipv6Addr::LOCALHOST, PORT).into()).unwrap();
        let said = format!("{info:?}");
        assert!(!said.contains("weather"), "{said}");
        assert!(!info.requires_probe());
        assert_eq!(info.get_property_val_str("net"), Some(&*tag("weather")));
        assert_eq!(tag("weather").len(), 16);
    }
}
