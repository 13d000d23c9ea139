//! Who is told what happens.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Event;

pub(super) type EventSink = Box<dyn Fn(&Event) + Send>;

/// The function that hears all events, if there is one, and those who have asked for them since.
#[derive(Default)]
pub(super) struct Listeners {
    function: Option<EventSink>,
    streams: Vec<mpsc::UnboundedSender<Event>>,
}

impl Listeners {
    pub(super) fn new(function: Option<EventSink>) -> Self {
        Listeners {
            function,
            streams: Vec::new(),
        }
    }

    /// Whether anybody wants to know what happens, down to each call.
    pub(super) fn any(&self) -> bool {
        self.function.is_some() || !self.streams.is_empty()
    }

    pub(super) fn tell(&mut self, event: &Event) {
        tracing::debug!("{event}");
        if let Some(f) = &self.function {
            f(event);
        }
        self.streams.retain(|to| to.send(event.clone()).is_ok());
    }

    /// One more, who hears first of the workers that are ready: their names and processes.
    pub(super) fn add<'a>(
        &mut self,
        to: mpsc::UnboundedSender<Event>,
        ready: impl IntoIterator<Item = (&'a Arc<str>, u32)>,
    ) {
        for (name, pid) in ready {
            let name = Arc::clone(name);
            // Whoever has asked may have gone away.
            let _ = to.send(Event::WorkerReady { name, pid });
        }
        self.streams.push(to);
    }
}
