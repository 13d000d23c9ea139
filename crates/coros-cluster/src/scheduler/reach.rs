//! Whether workers reach the client, and where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use coros_net::Location;

use crate::placement::NodeView;

/// A route does not depend on it.
const ANY_PORT: u16 = 9;

/// The address of this machine that a route to there begins with: nothing is sent.
pub(super) fn facing(there: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match there {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(there).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

/// Why no worker of a service reaches a client that they are told is `here`, if none does: the service is on another
/// machine.
pub(super) fn out_of_reach(
    here: &Location,
    service: &Location,
    facing: impl Fn(SocketAddr) -> Option<IpAddr>,
) -> Option<String> {
    let (own, there) = (here.endpoint?.ip(), service.endpoint?.ip());
    let apart = own.is_loopback() && is_elsewhere(there, facing);
    apart.then(|| {
        let what = format!("service {service} is on another machine, so that no worker reaches");
        listen_for_all(own, &what)
    })
}

/// Why the workers of a node do not reach a client that they are told is `here`, or that client does not reach them, if
/// so. The client has not been [out of reach](out_of_reach) of its service.
pub(super) fn apart(
    here: &Location,
    service: &Location,
    node: &NodeView,
    facing: impl Fn(SocketAddr) -> Option<IpAddr>,
) -> Option<String> {
    let own = here.endpoint?.ip();
    let there = *node.addresses.first()?;
    if own.is_loopback() {
        return is_elsewhere(there, facing).then(|| {
            let what = "this one is on another machine, so that its workers do not reach";
            listen_for_all(own, what)
        });
    }
    // So the node is on the machine of the service.
    let far = there.is_loopback() && is_elsewhere(service.endpoint?.ip(), facing);
    far.then(|| {
        format!(
            "it listens on {there} alone, on the machine of service {service}, so that this program does not reach its \
             workers: have it listen on all interfaces, as `coros node` does unless told otherwise"
        )
    })
}

/// Whether an address is one of another machine. What `facing` says tells: who listens on all interfaces has any of
/// their addresses.
fn is_elsewhere(there: IpAddr, facing: impl Fn(SocketAddr) -> Option<IpAddr>) -> bool {
    !there.is_loopback() && facing(SocketAddr::new(there, ANY_PORT)) != Some(there)
}

fn listen_for_all(own: IpAddr, what: &str) -> String {
    let any = match own {
        IpAddr::V4(_) => "[0, 0, 0, 0]",
        IpAddr::V6(_) => "[0_u16; 8]",
    };
    format!(
        "the node that was given to Scheduler::at listens on {own} alone, and {what} this program: have yours listen \
         on all interfaces, by `.listen(({any}, 0).into())` at its builder"
    )
}

#[cfg(test)]
mod tests {
    use coros_core::remote::NodeId;

    use super::*;
    use crate::machine::Machine;

    fn at(endpoint: &str) -> Location {
        Location {
            node: NodeId(1),
            name: "it".into(),
            endpoint: endpoint.parse().ok(),
        }
    }

    /// This machine is 10.0.0.5.
    fn facing(there: SocketAddr) -> Option<IpAddr> {
        Some(match there.ip() {
            ip if ip.is_loopback() => ip,
            _ => [10, 0, 0, 5].into(),
        })
    }

    #[test]
    fn who_listens_on_loopback_alone_is_reached_from_this_machine_alone() {
        let why = |here, service| out_of_reach(&at(here), &at(service), facing);
        for (here, service) in [
            ("127.0.0.1:9", "127.0.0.1:7342"),
            ("127.0.0.1:9", "[::1]:7342"),
            ("127.0.0.1:9", "10.0.0.5:7342"),
            ("10.0.0.5:9", "10.0.0.9:7342"),
            ("10.0.0.5:9", "127.0.0.1:7342"),
            // It is reached over the links that it makes.
            ("nowhere", "10.0.0.9:7342"),
            ("127.0.0.1:9", "nowhere"),
        ] {
            assert_eq!(why(here, service), None, "{here} {service}");
        }
        let told = why("127.0.0.1:9", "10.0.0.9:7342").unwrap();
        assert!(told.contains("listens on 127.0.0.1 alone"), "{told}");
        assert!(told.contains("it@10.0.0.9:7342 is on another"), "{told}");
        assert!(told.contains(".listen(([0, 0, 0, 0], 0).into())"), "{told}");
        let told = why("[::1]:9", "10.0.0.9:7342").unwrap();
        assert!(told.contains(".listen(([0_u16; 8], 0).into())"), "{told}");
    }

    #[test]
    fn of_a_service_with_nodes_on_several_machines_some_may_be_out_of_reach() {
        let why = |here, service, node: &str| {
            let machine = Machine::look([]);
            let node = NodeView {
                addresses: node.parse().into_iter().collect(),
                ..NodeView::new("it", machine)
            };
            apart(&at(here), &at(service), &node, facing)
        };
        for (here, service, node) in [
            ("127.0.0.1:9", "127.0.0.1:7342", "127.0.0.1"),
            ("127.0.0.1:9", "10.0.0.5:7342", "10.0.0.5"),
            ("127.0.0.1:9", "127.0.0.1:7342", "nowhere"),
            ("10.0.0.5:9", "127.0.0.1:7342", "127.0.0.1"),
            ("10.0.0.5:9", "10.0.0.5:7342", "127.0.0.1"),
            ("10.0.0.5:9", "10.0.0.9:7342", "10.0.0.8"),
            ("nowhere", "10.0.0.9:7342", "127.0.0.1"),
        ] {
            assert_eq!(why(here, service, node), None, "{here} {service} {node}");
        }
        let told = why("127.0.0.1:9", "10.0.0.5:7342", "10.0.0.8").unwrap();
        assert!(told.contains("listens on 127.0.0.1 alone"), "{told}");
        assert!(told.contains("this one is on another machine"), "{told}");
        assert!(told.contains(".listen(([0, 0, 0, 0], 0).into())"), "{told}");
        let told = why("10.0.0.5:9", "10.0.0.9:7342", "127.0.0.1").unwrap();
        assert!(told.contains("it listens on 127.0.0.1 alone"), "{told}");
    }

    #[test]
    fn a_route_to_this_machine_begins_where_it_ends() {
        let own = super::facing(([127, 0, 0, 1], ANY_PORT).into());
        assert_eq!(own, Some(Ipv4Addr::LOCALHOST.into()));
    }
}
