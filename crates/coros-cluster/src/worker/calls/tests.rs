//! What is told of a call that ends just when it cannot be dropped.

use super::*;

const CALL: Attempt = (CallId(7), 1);

/// One call runs that was to be dropped.
fn runs(io: bool) -> State {
    let running = Running {
        io,
        is_async: false,
        abort: None,
        dropped: Some(Dropped::TimedOut),
        settles: false,
        clock: None,
        begun: None,
    };
    let mut state = State {
        queue: VecDeque::new(),
        cpu: None,
        io: HashMap::new(),
        doomed: false,
        ending: false,
    };
    match io {
        true => drop(state.io.insert(CALL, running)),
        false => state.cpu = Some((CALL, running)),
    }
    state
}

#[test]
fn either_the_end_of_a_call_is_told_or_that_it_cannot_be_dropped() {
    for io in [false, true] {
        let mut state = runs(io);
        let report = state.cannot_drop(CALL, Dropped::TimedOut);
        let stuck = matches!(report, Some(FromWorker::Stuck { .. }));
        assert!(report.is_some() && stuck != io, "{report:?}");
        assert!(state.end(CALL).is_none());

        let mut state = runs(io);
        assert!(state.end(CALL).is_some());
        let report = state.cannot_drop(CALL, Dropped::TimedOut);
        assert!(report.is_none() && !state.doomed, "{report:?}");
    }
}

/// They go on beside it.
#[test]
fn the_end_of_an_io_call_is_told_though_another_is_stuck() {
    let mut state = runs(true);
    state.doomed = true;
    assert!(state.end(CALL).is_some());
}
