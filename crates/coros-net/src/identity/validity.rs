//! When a certificate is valid.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

/// From when to when a certificate is valid. Printed as `2026-01-31 12:00 to 2027-01-31 12:00 UTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    from: SystemTime,
    until: SystemTime,
}

impl Validity {
    /// In whole seconds, as certificates have it.
    pub(crate) fn new(from: SystemTime, until: SystemTime) -> Self {
        let whole = |time| SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970(time).as_secs());
        Validity {
            from: whole(from),
            until: whole(until),
        }
    }

    /// The first moment.
    #[must_use]
    pub fn from(&self) -> SystemTime {
        self.from
    }

    /// The last moment.
    #[must_use]
    pub fn until(&self) -> SystemTime {
        self.until
    }

    /// What of this time is also in the other.
    pub(crate) fn overlap(self, other: Validity) -> Self {
        Validity {
            from: self.from.max(other.from),
            until: self.until.min(other.until),
        }
    }

    /// What of this time is also in that of the issuer, unless that is over.
    pub(super) fn within<E>(
        self,
        issuer: Validity,
        expired: impl FnOnce() -> E,
    ) -> Result<Self, E> {
        if issuer.until <= SystemTime::now() {
            return Err(expired());
        }
        Ok(self.overlap(issuer))
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, until] = [self.from, self.until].map(|time| Utc(time).to_string());
        write!(f, "{} to {until}", from.trim_end_matches(" UTC"))
    }
}

/// A time as people read it, to the minute.
pub(crate) struct Utc(pub(crate) SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = rcgen::date_time_ymd(1970, 1, 1) + since_1970(self.0);
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        let (hour, minute) = (time.hour(), time.minute());
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

/// A length of time as people say it, rounded down.
pub(crate) struct About(pub(crate) Duration);

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
        match units.into_iter().find(|(unit, _)| seconds >= 2 * unit) {
            Some((unit, name)) => write!(f, "{} {name}", seconds / unit),
            None => write!(f, "{seconds} seconds"),
        }
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Reads it from a certificate (RFC 5280, section 4.1); `None` for what is none.
pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
    const INTEGER: u8 = 0x02;
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    // Version, serial number, signature algorithm, issuer.
    for tag in [VERSION, INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (from, rest) = time(validity)?;
    let (until, _) = time(rest)?;
    Some(Validity { from, until })
}

/// The contents of the element of DER at the start of `bytes`, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    // Up to 127 itself; above, how many bytes the length takes.
    let (length, rest) = match length.checked_sub(0x80) {
        None => (usize::from(length), rest),
        Some(digits @ 1..=4) => {
            let (digits, rest) = rest.split_at_checked(usize::from(digits))?;
            let length = digits.iter().fold(0_u64, |n, it| n << 8 | u64::from(*it));
            (usize::try_from(length).ok()?, rest)
        }
        Some(_) => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDhhmmssZ`, or with four digits for the year.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    const UTC: u8 = 0x17;
    const GENERALIZED: u8 = 0x18;
    let short = bytes.first() == Some(&UTC);
    let (text, rest) = element(bytes, if short { UTC } else { GENERALIZED })?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, text) = text.split_at_checked(if short { 2 } else { 4 })?;
    let number = |digits: &str| {
        let plain = digits.bytes().all(|it| it.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)
    };
    let mut fields = [0; 5];
    let mut left = text;
    for field in &mut fields {
        let (digits, rest) = left.split_at_checked(2)?;
        (*field, left) = (number(digits)?, rest);
    }
    let year = match number(year)? {
        year @ 0..50 if short => 2000 + year,
        year if short => 1900 + year,
        year => year,
    };
    let [month, day, hour, minute, second] = fields;
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !left.is_empty() || !fits || year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some((time, rest))
}

/// In the Gregorian calendar, from 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March, so that a leap day is the last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719,468 days before 1970 begins the first of those years.
    year * 365 + leap_days + (month * 153 + 2) / 5 + (day - 1) - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_1970(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for (tag, text, seconds) in [
            (0x17, "700101000000Z", 0),
            (0x17, "491231235959Z", 2_524_607_999),
            (0x18, "20240229120000Z", 1_709_208_000),
            (0x18, "20000301000000Z", 951_868_800),
            (0x18, "40960101000000Z", 67_090_118_400),
        ] {
            let mut bytes = vec![tag, text.len() as u8];
            bytes.extend(text.bytes());
            assert_eq!(time(&bytes), Some((after_1970(seconds), &[][..])), "{text}");
        }
        for text in [
            "20241301000000Z",
            "2024022912000Z",
            "20240229120000",
            "+0240229120000Z",
            "",
        ] {
            let mut bytes = vec![0x18, text.len() as u8];
            bytes.extend(text.bytes());
            assert_eq!(time(&bytes), None, "{text}");
        }
    }

    #[test]
    fn times_are_printed_as_people_read_them() {
        let validity = Validity::new(after_1970(1_709_208_000), after_1970(2_524_607_999));
        let printed = "2024-02-29 12:00 to 2049-12-31 23:59 UTC";
        assert_eq!(validity.to_string(), printed);
        for (seconds, text) in [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (86_400, "24 hours"),
            (3 * 86_400, "3 days"),
        ] {
            assert_eq!(About(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
