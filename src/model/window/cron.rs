//! Five fields of cron: the minutes of a calendar, without a time zone.
//!
//! What they mean is part of the bucket's format, so it is decided here: two programs with two versions of somebody
//! else's grammar must not see two different windows.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, date};
use serde::{Deserialize, Serialize};

/// Minutes of a calendar: `minute hour day-of-month month day-of-week`, as cron has them.
///
/// Each field is `*` or a list of numbers and ranges, each range with `/step` if it is to be; months and days of the
/// week may go by the first three letters of their names. Where neither of the two fields of days begins with `*`, a
/// day need only fit one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// 0 is Sunday.
    weekdays: u64,
    /// A day need only fit one of the two fields.
    is_either: bool,
}

/// A text that is no such five fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cron expression {text:?} is not valid: {problem}")]
pub struct CronError {
    text: String,
    problem: String,
}

/// More than any list needs.
const MAX_LENGTH: usize = 200;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

struct Kind {
    name: &'static str,
    least: u8,
    most: u8,
    /// The names of the numbers from `least` on.
    names: &'static [&'static str],
}

const KINDS: [Kind; 5] = [
    Kind { name: "minute", least: 0, most: 59, names: &[] },
    Kind { name: "hour", least: 0, most: 23, names: &[] },
    Kind { name: "day of the month", least: 1, most: 31, names: &[] },
    Kind { name: "month", least: 1, most: 12, names: &MONTHS },
    // 7 is Sunday as well.
    Kind { name: "day of the week", least: 0, most: 7, names: &WEEKDAYS },
];

impl Kind {
    fn number(&self, text: &str) -> Result<u8, String> {
        let lower = text.to_ascii_lowercase();
        let named = self.names.iter().position(|name| *name == lower).and_then(|at| u8::try_from(at).ok());
        let digits = Some(text).filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = named.map(|at| at + self.least).or_else(|| digits?.parse().ok());
        number.filter(|number| (self.least..=self.most).contains(number)).ok_or_else(|| {
            let names = if self.names.is_empty() { "" } else { " or a name's first three letters" };
            let (name, least, most) = (self.name, self.least, self.most);
            format!("{text:?} is no {name}; expected a number from {least} to {most}{names}")
        })
    }

    /// The numbers that the field names, as bits.
    fn read(&self, field: &str) -> Result<u64, String> {
        let mut bits = 0;
        for part in field.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step = step.parse().ok().filter(|step| (1..=self.most).contains(step));
                    (range, step.ok_or_else(|| format!("{part:?} has no step from 1 to {}", self.most))?)
                }
                None => (part, 1),
            };
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (self.number(first)?, self.number(last)?),
                None if range == "*" => (self.least, self.most),
                None if part.contains('/') => {
                    return Err(format!("{part:?} has a step, but no range; write {range}-{}/{step}", self.most));
                }
                None => (self.number(range)?, self.number(range)?),
            };
            // A week may be written to end on a Sunday.
            let last = if last == 0 && first > 0 && self.most == 7 { 7 } else { last };
            if first > last {
                return Err(format!("{range:?} goes backwards; write {first}-{},{}-{last}", self.most, self.least));
            }
            for number in (first..=last).step_by(usize::from(step)) {
                bits |= 1 << number;
            }
        }
        Ok(bits)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let refuse = |problem: String| CronError { text: super::super::name::shown(text), problem };
        if text.len() > MAX_LENGTH {
            return Err(refuse(format!("it is longer than {MAX_LENGTH} characters")));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            let what = "minute, hour, day of the month, month and day of the week";
            return Err(refuse(format!("it has {} fields; expected five: {what}", fields.len())));
        };
        let is_either = !days.starts_with('*') && !weekdays.starts_with('*');
        let [minutes, hours, days, months, weekdays] = {
            let mut read = [0; 5];
            for ((bits, kind), field) in read.iter_mut().zip(&KINDS).zip([minutes, hours, days, months, weekdays]) {
                *bits = kind.read(field).map_err(refuse)?;
            }
            read
        };
        let weekdays = (weekdays | weekdays >> 7) & 0x7f;
        let cron = Self { text: fields.join(" "), minutes, hours, days, months, weekdays, is_either };
        // Every pattern of dates and days of the week comes back within 28 years, and within 40 across a year such as
        // 2100.
        let (from, to) = (date(2000, 1, 1).at(0, 0, 0, 0), date(2040, 12, 31).at(23, 59, 0, 0));
        match cron.first(from, to) {
            Some(_) => Ok(cron),
            None => Err(refuse("no calendar has such a day".to_owned())),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

stands_as_text!(Cron, CronError);

fn has(bits: u64, number: i8) -> bool {
    bits & (1 << number) != 0
}

/// The lowest number from `from` on.
fn lowest(bits: u64, from: i8) -> Option<i8> {
    let rest = bits.checked_shr(u32::try_from(from).ok()?)? << from;
    (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).ok()).flatten()
}

/// The highest number up to `to`.
fn highest(bits: u64, to: i8) -> Option<i8> {
    let rest = bits & (u64::MAX >> (63 - u32::try_from(to).ok()?));
    (rest != 0).then(|| i8::try_from(63 - rest.leading_zeros()).ok()).flatten()
}

impl Cron {
    fn has_day(&self, day: Date) -> bool {
        let (of_month, of_week) =
            (has(self.days, day.day()), has(self.weekdays, day.weekday().to_sunday_zero_offset()));
        has(self.months, day.month()) && if self.is_either { of_month || of_week } else { of_month && of_week }
    }

    /// The first minute from `from` to `to`, both among them.
    pub(super) fn first(&self, from: DateTime, to: DateTime) -> Option<DateTime> {
        let mut day = from.date();
        let mut earliest = Some(if from.second() == 0 && from.subsec_nanosecond() == 0 {
            from.time()
        } else {
            // The minute has begun already.
            match from.checked_add(jiff::Span::new().minutes(1)).ok()? {
                next if next.date() == day => Time::constant(next.hour(), next.minute(), 0, 0),
                _ => return self.first(day.tomorrow().ok()?.to_datetime(Time::midnight()), to),
            }
        });
        while day <= to.date() {
            if self.has_day(day) {
                let earliest = earliest.unwrap_or_else(Time::midnight);
                let same = lowest(self.minutes, earliest.minute()).filter(|_| has(self.hours, earliest.hour()));
                let found = same
                    .map(|minute| (earliest.hour(), minute))
                    .or_else(|| Some((lowest(self.hours, earliest.hour().checked_add(1)?)?, lowest(self.minutes, 0)?)));
                if let Some((hour, minute)) = found {
                    return Some(day.at(hour, minute, 0, 0)).filter(|found| *found <= to);
                }
            }
            earliest = None;
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// The last minute from `from` to `to`, both among them.
    pub(super) fn last(&self, from: DateTime, to: DateTime) -> Option<DateTime> {
        let mut day = to.date();
        let mut latest = to.time();
        while day >= from.date() {
            if self.has_day(day) {
                let same = highest(self.minutes, latest.minute()).filter(|_| has(self.hours, latest.hour()));
                let found = same.map(|minute| (latest.hour(), minute)).or_else(|| {
                    let hour = highest(self.hours, latest.hour().checked_sub(1).filter(|hour| *hour >= 0)?)?;
                    Some((hour, highest(self.minutes, 59)?))
                });
                if let Some((hour, minute)) = found {
                    return Some(day.at(hour, minute, 0, 0)).filter(|found| *found >= from);
                }
            }
            latest = Time::constant(23, 59, 0, 0);
            day = day.yesterday().ok()?;
        }
        None
    }
}
