//! Why a node lends no cores: somebody has typed so, or it is outside of its service hours. It lends some when neither
//! holds.

use super::hours::{Hours, Service};

/// What keeps it from lending cores.
#[derive(Debug)]
pub(super) struct Suspension {
    pub(super) hours: Option<Hours>,
    by_hand: bool,
    by_hours: bool,
}

impl Suspension {
    /// Of a node that lends its cores until it hears more.
    pub(super) fn new(hours: Option<Hours>) -> Self {
        Suspension {
            hours,
            by_hand: false,
            by_hours: false,
        }
    }

    /// Somebody has typed that it is to lend none, or that it may.
    pub(super) fn by_hand(&mut self, suspended: bool) {
        self.by_hand = suspended;
    }

    /// The service has changed.
    pub(super) fn change(&mut self, service: Service) {
        self.by_hours = service != Service::Open;
    }

    /// How it is suspended, if it is: to be said after that word.
    pub(super) fn how(&self) -> Option<String> {
        let opens = self.hours.as_ref().map(Hours::opens);
        let by_hours = opens.filter(|_| self.by_hours);
        let by_hours = by_hours.map(|opens| format!("until {opens}, by its service hours"));
        let by_hand = self.by_hand.then(|| "by hand".to_owned());
        let how: Vec<_> = by_hand.into_iter().chain(by_hours).collect();
        (!how.is_empty()).then(|| how.join(", and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lends_cores_when_neither_somebody_nor_the_hours_forbid() {
        let time = |text: &str| Some(text.parse().unwrap());
        let hours = Hours::new(time("20:00"), time("06:00"), time("08:00")).unwrap();
        let mut it = Suspension::new(hours);
        assert_eq!(it.how(), None);
        it.change(Service::Open);
        it.by_hand(true);
        assert_eq!(it.how().unwrap(), "by hand");
        for service in [Service::Closing, Service::Closed] {
            it.change(service);
            let both = "by hand, and until 20:00, by its service hours";
            assert_eq!(it.how().unwrap(), both);
        }
        // Hours that begin do not undo what somebody has typed.
        it.change(Service::Open);
        assert_eq!(it.how().unwrap(), "by hand");
        it.by_hand(false);
        assert_eq!(it.how(), None);
        // Nor the other way round.
        it.change(Service::Closing);
        it.by_hand(false);
        assert_eq!(it.how().unwrap(), "until 20:00, by its service hours");
        it.change(Service::Open);
        assert_eq!(it.how(), None);
    }
}
