//! Whether workers reach the client, and where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use coros_net::Location;

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

/// Why the workers of a service do not reach a client that they are told is `here`, if they do not. What `facing`
/// says of the service tells whether it is on another machine: it listens on all interfaces, as a rule, so its
/// endpoint alone does not.
pub(super) fn out_of_reach(
    here: &Location,
    service: &Location,
    facing: impl Fn(SocketAddr) -> Option<IpAddr>,
) -> Option<String> {
    let (own, there) = (here.endpoint?.ip(), service.endpoint?);
    if !own.is_loopback() || there.ip().is_loopback() || facing(there) == Some(there.ip()) {
        return None;
    }
    let any = match own {
        IpAddr::V4(_) => "[0, 0, 0, 0]",
        IpAddr::V6(_) => "[0_u16; 8]",
    };
    Some(format!(
        "the node that was given to Scheduler::at listens on {own} alone, and service {service} is on another \
         machine, so that no worker reaches this program: have the node listen on all interfaces, by \
         `.listen(({any}, 0).into())` at its builder"
    ))
}

#[cfg(test)]
mod tests {
    use coros_core::remote::NodeId;

    use super::*;

    fn at(endpoint: &str) -> Location {
        Location {
            node: NodeId(1),
            name: "it".into(),
            endpoint: endpoint.parse().ok(),
        }
    }

    #[test]
    fn who_listens_on_loopback_alone_is_reached_from_this_machine_alone() {
        // This machine is 10.0.0.5.
        let facing = |there: SocketAddr| match there.ip().is_loopback() {
            true => Some(there.ip()),
            false => Some([10, 0, 0, 5].into()),
        };
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
    fn a_route_to_this_machine_begins_where_it_ends() {
        let own = facing(([127, 0, 0, 1], 9).into());
        assert_eq!(own, Some(Ipv4Addr::LOCALHOST.into()));
    }
}
