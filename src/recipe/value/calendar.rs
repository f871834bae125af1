//! Calendar events of `systemd.time(7)`: `daily`, `Mon..Fri *-*-* 03:00`.
//!
//! What is taken here systemd takes too, but for time zones, of which only the node knows which ones it has. Some forms
//! of the same events that it also takes are left out: years of two digits, `Mon-Fri`, seconds since 1970.

use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, Error};

/// When something is to run, as systemd writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar(pub String);

/// More than any event needs.
const MAX_LENGTH: usize = 200;

const WORDS: [&str; 12] = [
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "yearly",
    "annually",
    "semiannually",
    "semi-annually",
    "biannually",
    "bi-annually",
];

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl Calendar {
    pub(in crate::recipe) fn parse(text: &str) -> Result<Self, String> {
        if text.len() <= MAX_LENGTH && is_event(text) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(MAX_LENGTH).collect();
        Err(format!(
            "`{shown}` is not a calendar event\nwrite hourly, daily, \"*-*-* 03:00\" or \"Mon..Fri 08:30\"; \
             `systemd-analyze calendar` tells when an event is due"
        ))
    }
}

impl<'de> Deserialize<'de> for Calendar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for text, so that `03:00` stays as it was written.
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// `[days] [date] [time] [zone]`, of which a zone is not enough, or one of the words and a zone.
fn is_event(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split(' ').collect();
    if parts.len() > 1 && parts.last().is_some_and(|part| is_zone(part)) {
        parts.pop();
    }
    if let [word] = parts[..]
        && WORDS.contains(&word.to_ascii_lowercase().as_str())
    {
        return true;
    }
    let mut rest = parts.as_slice();
    for is_part in [is_days, is_date, is_time] {
        if let [part, after @ ..] = rest
            && is_part(part)
        {
            rest = after;
        }
    }
    rest.is_empty() && !parts.is_empty()
}

/// A name of the time zone database. Days and words are none.
fn is_zone(text: &str) -> bool {
    let within = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
    text == "UTC"
        || (text.contains('/') && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(within))
}

fn is_days(text: &str) -> bool {
    let day = |text: &str| {
        let text = text.to_ascii_lowercase();
        DAYS.iter().position(|day| *day == text || day.get(..3) == Some(text.as_str()))
    };
    text.split(',').all(|item| match item.split_once("..") {
        Some((first, last)) => matches!((day(first), day(last)), (Some(first), Some(last)) if first <= last),
        None => day(item).is_some(),
    })
}

/// `[year-]month-day`, where `~` in place of the last `-` counts the days from the month's end.
fn is_date(text: &str) -> bool {
    let Some(at) = text.rfind(['-', '~']) else { return false };
    let (before, day) = (&text[..at], &text[at + 1..]);
    let (year, month) = before.rsplit_once('-').map_or((None, before), |(year, month)| (Some(year), month));
    let is_day = match text.as_bytes().get(at) {
        // Steps go from the last days to the end of the month, whose length is not known.
        Some(b'~') => is_item(day, &(1..=28), |first, step| first > step),
        _ => is_list(day, 1..=31),
    };
    is_day && year.is_none_or(|year| is_list(year, 1970..=2199)) && is_list(month, 1..=12)
}

/// `hour:minute[:second[.fraction]]`
fn is_time(text: &str) -> bool {
    match text.split(':').collect::<Vec<_>>()[..] {
        [hour, minute] => is_list(hour, 0..=23) && is_list(minute, 0..=59),
        [hour, minute, second] => {
            is_list(hour, 0..=23) && is_list(minute, 0..=59) && (is_list(second, 0..=59) || is_fraction(second))
        }
        _ => false,
    }
}

/// `second.fraction`
fn is_fraction(text: &str) -> bool {
    let Some((second, fraction)) = text.split_once('.') else { return false };
    let digits = (1..=6).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    digits && second.bytes().all(|byte| byte.is_ascii_digit()) && is_list(second, 0..=59)
}

/// `*`, or numbers and ranges of them, each with or without a step: `1,5..10,20/2`.
fn is_list(text: &str, range: RangeInclusive<u32>) -> bool {
    text == "*" || text.split(',').all(|item| is_item(item, &range, |first, step| first + step <= *range.end()))
}

/// A number or a range of them, with or without a step; after a number the step must lead to one that `follows`.
fn is_item(text: &str, range: &RangeInclusive<u32>, follows: impl Fn(u32, u32) -> bool) -> bool {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let within = |text: &str| number(text).filter(|number| range.contains(number));
    let (item, step) = text.split_once('/').map_or((text, None), |(item, step)| (item, Some(step)));
    if step.is_some_and(|step| number(step).is_none_or(|step| step == 0)) {
        return false;
    }
    match item.split_once("..") {
        Some((first, last)) => matches!((within(first), within(last)), (Some(first), Some(last)) if first <= last),
        None => within(item).is_some_and(|first| step.and_then(number).is_none_or(|step| follows(first, step))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [&str; 30] = [
        "hourly",
        "Daily",
        "weekly UTC",
        "semi-annually Europe/Paris",
        "Mon",
        "Mon..Fri",
        "sat,Sunday 10:00",
        "Mon,Wed..Fri 2026-*-1..7 4:5:6.5",
        "*-*-* 03:00",
        "*-*-* 03:00:00 America/Argentina/Buenos_Aires",
        "12-24",
        "2026-12-24",
        "2026..2030/2-01,07-01",
        "*-*~1",
        "*-02~03 12:30",
        "03:00",
        "3:00",
        "*:0/15",
        "*:*:*",
        "8..18/2:00,30",
        "Fri 18:00 UTC",
        "*-*-* 0..23:59",
        "Mon *-05~07/1",
        "*-*~1..28",
        "*-*~1..3/5",
        "*-*-1/30",
        "8..18/100:00",
        "3:0:0..5",
        "3:0:0/59",
        "1970/229-1-1",
    ];

    const OTHERS: [&str; 43] = [
        "",
        " ",
        "UTC",
        "Europe/Paris",
        "sometimes",
        "12",
        "*",
        "daily daily",
        "daily 03:00",
        "Mon Tue",
        "Mon..5",
        "Sun..Mon",
        "Mon, Fri 10:00",
        "Funday 10:00",
        "25:00",
        "10:60",
        "10",
        "10:00:60",
        "10:00:00.",
        "10:00 *-*-*",
        "*-13-*",
        "*-*-32",
        "*-*-0",
        "1969-01-01",
        "5..3:00",
        "*/5:00",
        "*:0/0",
        "*-*-* 03:00\n",
        "*-*-* 03:00;",
        "*-*-* 03:00 %h",
        "*:1,:00",
        "*:0/60",
        "*-*-1/31",
        "1/12-1",
        "1970/230-1-1",
        "*-*~29",
        "*-*~1/1",
        "*-*~1,28",
        "*-*~0",
        "3:0:*.5",
        "3:0:.5",
        "3:0:1.x",
        "2026~12-24",
    ];

    #[test]
    fn events_are_told_from_what_is_none() {
        for text in EVENTS {
            assert_eq!(Calendar::parse(text), Ok(Calendar(text.to_owned())));
        }
        for text in OTHERS {
            assert!(Calendar::parse(text).unwrap_err().contains("is not a calendar event\nwrite hourly"), "{text:?}");
        }
        assert!(Calendar::parse(&format!("{}03:00", "Mon,".repeat(60))).is_err());
    }

    /// Where systemd is there to ask.
    #[test]
    fn systemd_takes_the_same_texts_for_events() {
        for (texts, expected) in [(EVENTS.as_slice(), true), (&OTHERS, false)] {
            for text in texts {
                let asked = std::process::Command::new("systemd-analyze").arg("calendar").arg(text).output();
                match asked {
                    Ok(output) => assert_eq!(output.status.success(), expected, "{text:?}"),
                    Err(error) if std::env::var_os("FLEETMAN_E2E").is_some() => panic!("systemd-analyze: {error}"),
                    Err(error) => return eprintln!("skipped: systemd-analyze: {error}"),
                }
            }
        }
    }
}
