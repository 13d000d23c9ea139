//! What sensors measure, and averages of it.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// What there is to measure, and to show of it.
#[derive(clap::Args)]
pub(crate) struct Measuring {
    /// How many sensors there are.
    #[arg(default_value_t = 3)]
    pub(crate) sensors: u32,

    /// How often each measures.
    #[arg(long, default_value_t = 1000)]
    pub(crate) readings: usize,

    /// How many readings make an average.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: u16,
}

/// One value of one sensor.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) sensor: u32,
    pub(crate) value: f64,
}

/// What a sensor measures: it goes up between ten times its number and nine more, over and over.
pub(crate) fn measure(sensor: u32) -> impl Iterator<Item = Reading> {
    (0..10).cycle().map(move |step| Reading {
        sensor,
        value: f64::from(sensor) * 10.0 + f64::from(step),
    })
}

/// The averages of the last values of each sensor.
pub(crate) struct Averages {
    window: usize,
    of: HashMap<u32, Last>,
}

#[derive(Default)]
struct Last {
    values: VecDeque<f64>,
    seen: usize,
}

impl Averages {
    pub(crate) fn of_last(window: u16) -> Self {
        Averages {
            window: window.into(),
            of: HashMap::new(),
        }
    }

    /// Takes a value. When its sensor has given as many since it was last told of, what there is to say.
    pub(crate) fn add(&mut self, Reading { sensor, value }: Reading) -> Option<String> {
        let Averages { window, of } = self;
        let Last { values, seen } = of.entry(sensor).or_default();
        if values.len() == *window {
            values.pop_front();
        }
        values.push_back(value);
        *seen += 1;
        seen.is_multiple_of(*window).then(|| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            format!("sensor {sensor}: {seen} readings, the last {window} average {mean:.2}")
        })
    }
}
