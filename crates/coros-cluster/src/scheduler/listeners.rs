//! Who is told what happens.

use tokio::sync::mpsc;

use super::Event;
use crate::caught::heard;

pub(crate) type EventSink = Box<dyn Fn(&Event) + Send>;
/// Hears also whether anybody else does.
pub(crate) type Aside = Box<dyn Fn(&Event, bool) + Send>;

/// The function that hears all events, if there is one, and those who have asked for them since.
#[derive(Default)]
pub(super) struct Listeners {
    function: Option<EventSink>,
    /// One that hears as well, for whom nothing is told that would not be told anyway.
    aside: Option<Aside>,
    streams: Vec<mpsc::UnboundedSender<Event>>,
}

impl Listeners {
    pub(super) fn new(function: Option<EventSink>) -> Self {
        Listeners {
            function,
            ..Listeners::default()
        }
    }

    pub(super) fn aside(f: Aside) -> Self {
        Listeners {
            aside: Some(f),
            ..Listeners::default()
        }
    }

    /// Whether anybody wants to know what happens, down to each call.
    pub(super) fn any(&self) -> bool {
        self.function.is_some() || !self.streams.is_empty()
    }

    pub(super) fn tell(&mut self, event: &Event) {
        let any = self.any();
        match event.is_of_a_wait() && !any && self.aside.is_none() {
            true => {
                tracing::warn!("{event}");
                coros_net::say_unheard(&event.to_string());
            }
            false => tracing::debug!("{event}"),
        }
        self.function.take_if(|f| !heard(&**f, event));
        if let Some(f) = &self.aside {
            f(event, any);
        }
        self.streams.retain(|to| to.send(event.clone()).is_ok());
    }

    /// One more, who hears first of what is so already.
    pub(super) fn add(
        &mut self,
        to: mpsc::UnboundedSender<Event>,
        before: impl IntoIterator<Item = Event>,
    ) {
        for event in before {
            // Whoever has asked may have gone away.
            let _ = to.send(event);
        }
        self.streams.push(to);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_wait_that_nobody_hears_of_is_a_warning() {
        let log = Log::default();
        let to = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone());
        let waits = |function: &'static str| Event::JobWaits {
            job: 7,
            function: function.into(),
        };
        tracing::subscriber::with_default(subscriber.finish(), || {
            let mut listeners = Listeners::default();
            listeners.tell(&waits("unheard"));
            listeners.tell(&Event::Scheduled);
            let (to, _told) = mpsc::unbounded_channel();
            listeners.add(to, []);
            listeners.tell(&waits("heard"));
            // Whoever hears aside passes it on.
            Listeners::aside(Box::new(|_, heard| assert!(!heard))).tell(&waits("aside"));
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("WARN").count(), 1, "{log}");
        assert!(log.contains("job 7 (unheard) waits"), "{log}");
    }

    #[test]
    fn a_function_that_panics_is_called_once_and_that_is_in_the_log() {
        let log = Log::default();
        let to = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone());
        let calls = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&calls);
        let mut listeners = Listeners::new(Some(Box::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            panic!("ouch")
        })));
        let (to, mut told) = mpsc::unbounded_channel();
        listeners.add(to, []);
        tracing::subscriber::with_default(subscriber.finish(), || {
            listeners.tell(&Event::Scheduled);
            listeners.tell(&Event::Scheduled);
        });
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        // Others hear all the same.
        for _ in 0..2 {
            assert_eq!(told.try_recv(), Ok(Event::Scheduled));
        }
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("WARN"), "{log}");
        assert!(log.contains("on_event panicked, "), "{log}");
        assert!(log.contains(": ouch"), "{log}");
        drop(told);
        listeners.tell(&Event::Scheduled);
        assert!(!listeners.any());
    }
}
