//! What can be written in the place of a value, on a command line and in a file alike.

use std::fmt;
use std::marker::PhantomData;
use std::num::{NonZeroI32, NonZeroU64};
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// So many bytes, with K, M, G or T for a power of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
        let shift = match &text[digits.len()..] {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err("one letter is enough".into()),
        };
        let example = "give a number from 1, or one with K, M, G or T, such as 20G";
        let number: NonZeroU64 = digits.parse().map_err(|_| example)?;
        let bytes = number.get().checked_mul(1 << shift);
        bytes
            .map(Size)
            .ok_or_else(|| "that is more than can be counted".into())
    }
}

/// How many cores, or, when negative, how many are left to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(NonZeroI32);

impl Cpus {
    /// How many of so many cores: no more than there are, and one at least.
    pub(crate) fn of(self, cores: usize) -> usize {
        let number = usize::try_from(self.0.unsigned_abs().get()).unwrap_or(usize::MAX);
        match self.0.is_positive() {
            true => number.min(cores),
            false => cores.saturating_sub(number).max(1),
        }
    }

    /// Why it is not as many of them as was asked for, if so.
    pub(crate) fn cut(self, cores: usize) -> Option<&'static str> {
        let (number, cores) = (i128::from(self.0.get()), cores as i128);
        match number {
            number if number > cores => Some("there are no more"),
            number if -number >= cores => Some("it is one at least"),
            _ => None,
        }
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: i32 = text.parse().map_err(
            |_| "give a number of cores, such as 4, or of those to leave free, such as -1",
        )?;
        let number = NonZeroI32::new(number);
        number
            .map(Cpus)
            .ok_or_else(|| "a node without a core is of no use".into())
    }
}

/// A minute of the day, as 20:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeOfDay {
    pub(crate) hour: u8,
    pub(crate) minute: u8,
}

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str, below| {
            let plain =
                (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| plain);
            number.filter(|number| *number < below)
        };
        let time = text.split_once(':').and_then(|(hour, minute)| {
            Some(TimeOfDay {
                hour: number(hour, 24)?,
                minute: number(minute, 60).filter(|_| minute.len() == 2)?,
            })
        });
        time.ok_or_else(|| "expected hours and minutes from 00:00 to 23:59, such as 20:00".into())
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// Reads a value of a file as it is read on a command line: a text, or a number.
pub(super) fn written<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    from.deserialize_any(Written(PhantomData)).map(Some)
}

/// A list of such values.
pub(super) fn written_list<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    struct Item<T>(T);
    impl<'de, T: FromStr<Err: fmt::Display>> serde::Deserialize<'de> for Item<T> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(Written(PhantomData)).map(Item)
        }
    }
    let items: Vec<Item<T>> = serde::Deserialize::deserialize(from)?;
    Ok(items.into_iter().map(|Item(value)| value).collect())
}

struct Written<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|error| E::custom(format_args!("{text:?}: {error}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_letters() {
        let size = |text: &str| text.parse().map(|Size(bytes)| bytes);
        assert_eq!(size("7"), Ok(7));
        assert_eq!(size("3K"), Ok(3 << 10));
        assert_eq!(size("20G"), Ok(20 << 30));
        for wrong in ["", "0", "G", "1KK", "1k", "-1", "1.5G", "99999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_core_at_least_stays_and_no_more_than_there_are() {
        let of = |text: &str, cores| text.parse::<Cpus>().unwrap().of(cores);
        assert_eq!((of("3", 8), of("9", 8)), (3, 8));
        assert_eq!((of("-1", 8), of("-7", 8)), (7, 1));
        assert_eq!((of("-8", 8), of("-1", 1), of("-2147483648", 8)), (1, 1, 1));
        let cut = |text: &str, cores| text.parse::<Cpus>().unwrap().cut(cores);
        for asked in ["1", "8", "-1", "-7"] {
            assert_eq!(cut(asked, 8), None, "{asked}");
        }
        assert_eq!(cut("9", 8), Some("there are no more"));
        for asked in ["-8", "-2147483648"] {
            assert_eq!(cut(asked, 8), Some("it is one at least"), "{asked}");
        }
        for wrong in ["0", "", "half", "1.5"] {
            assert!(wrong.parse::<Cpus>().is_err(), "{wrong}");
        }
        let error = "half".parse::<Cpus>().unwrap_err();
        assert!(error.contains("such as 4"), "{error}");
    }

    #[test]
    fn times_are_hours_and_minutes() {
        for (text, hour, minute) in [("20:00", 20, 0), ("6:05", 6, 5), ("23:59", 23, 59)] {
            assert_eq!(text.parse(), Ok(TimeOfDay { hour, minute }));
        }
        assert_eq!("6:05".parse::<TimeOfDay>().unwrap().to_string(), "06:05");
        for wrong in [
            "", "24:00", "20:60", "20", "20:0", "+2:00", "020:00", "20:00:00",
        ] {
            assert!(wrong.parse::<TimeOfDay>().is_err(), "{wrong}");
        }
    }
}
