use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn window(rule: Rule, opens: &str, minutes: u64, zone: &str) -> Window {
    let opens = opens.parse().unwrap();
    Window { rule, opens, for_secs: minutes * 60, time_zone: zone.parse().unwrap() }
}

fn allow(opens: &str, minutes: u64, zone: &str) -> Window {
    window(Rule::Allow, opens, minutes, zone)
}

fn deny(opens: &str, minutes: u64, zone: &str) -> Window {
    window(Rule::Deny, opens, minutes, zone)
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn open(closes: &str) -> Passage {
    Passage::Open { closes_at: Some(at(closes)) }
}

fn closed(opens: &str) -> Passage {
    Passage::Closed { opens_at: Some(at(opens)) }
}

#[test]
fn without_windows_everything_may_happen() {
    let now = at("2026-03-01T12:00:00Z");
    assert_eq!(passage(&[], now), Passage::Open { closes_at: None });
    assert_eq!(passage(&[&[], &[]], now), Passage::Open { closes_at: None });
}

#[test]
fn a_window_is_open_from_its_first_second_to_the_one_before_its_last() {
    let night = [allow("0 2 * * *", 60, "UTC")];
    for (now, expected) in [
        ("2026-03-01T01:59:59Z", closed("2026-03-01T02:00:00Z")),
        ("2026-03-01T02:00:00Z", open("2026-03-01T03:00:00Z")),
        ("2026-03-01T02:59:59Z", open("2026-03-01T03:00:00Z")),
        ("2026-03-01T03:00:00Z", closed("2026-03-02T02:00:00Z")),
    ] {
        assert_eq!(passage(&[&night], at(now)), expected, "{now}");
    }
}

#[test]
fn windows_that_touch_are_one() {
    let both = [allow("0 2 * * *", 60, "UTC"), allow("0 3 * * *", 30, "UTC")];
    assert_eq!(passage(&[&both], at("2026-03-01T02:10:00Z")), open("2026-03-01T03:30:00Z"));
}

#[test]
fn who_denies_wins_and_every_group_must_be_open() {
    let node = [allow("0 0 * * *", 6 * 60, "UTC")];
    let cell = [allow("0 4 * * *", 4 * 60, "UTC"), deny("30 4 * * *", 60, "UTC")];
    let groups: [&[Window]; 2] = [&node, &cell];
    for (now, expected) in [
        ("2026-03-01T03:00:00Z", closed("2026-03-01T04:00:00Z")),
        ("2026-03-01T04:10:00Z", open("2026-03-01T04:30:00Z")),
        ("2026-03-01T04:40:00Z", closed("2026-03-01T05:30:00Z")),
        ("2026-03-01T05:40:00Z", open("2026-03-01T06:00:00Z")),
        ("2026-03-01T07:00:00Z", closed("2026-03-02T04:00:00Z")),
    ] {
        assert_eq!(passage(&groups, at(now)), expected, "{now}");
    }
    let only_denied = [deny("0 9 * * mon-fri", 8 * 60, "UTC")];
    assert_eq!(passage(&[&only_denied], at("2026-03-02T10:00:00Z")), closed("2026-03-02T17:00:00Z"));
    assert_eq!(passage(&[&only_denied], at("2026-02-28T10:00:00Z")), open("2026-03-02T09:00:00Z"));
}

#[test]
fn what_never_opens_says_so() {
    let never = [allow("0 2 * * *", 60, "UTC"), deny("0 * * * *", 120, "UTC")];
    assert_eq!(passage(&[&never], at("2026-03-01T12:00:00Z")), Passage::Closed { opens_at: None });
    // The 29th of February 2028 is further away than anybody waits.
    assert_eq!(
        passage(&[&[allow("0 2 29 2 *", 60, "UTC")]], at("2026-03-01T12:00:00Z")),
        Passage::Closed { opens_at: None }
    );
}

/// On 2026-03-29 clocks in Berlin go from 02:00 to 03:00, which is 01:00 in UTC.
#[test]
fn a_window_in_an_hour_that_is_left_out_opens_when_the_clocks_are_put_forward() {
    let night = [allow("30 2 * * *", 60, "Europe/Berlin")];
    for (now, expected) in [
        ("2026-03-28T12:00:00Z", closed("2026-03-29T01:00:00Z")),
        ("2026-03-29T00:59:59Z", closed("2026-03-29T01:00:00Z")),
        ("2026-03-29T01:00:00Z", open("2026-03-29T02:00:00Z")),
        ("2026-03-29T02:00:00Z", closed("2026-03-30T00:30:00Z")),
    ] {
        assert_eq!(passage(&[&night], at(now)), expected, "{now}");
    }
}

/// On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00, which is 01:00 in UTC.
#[test]
fn a_window_in_an_hour_that_is_shown_twice_opens_twice() {
    let night = [allow("15 2 * * *", 30, "Europe/Berlin")];
    for (now, expected) in [
        ("2026-10-25T00:00:00Z", closed("2026-10-25T00:15:00Z")),
        ("2026-10-25T00:15:00Z", open("2026-10-25T00:45:00Z")),
        ("2026-10-25T00:45:00Z", closed("2026-10-25T01:15:00Z")),
        ("2026-10-25T01:44:59Z", open("2026-10-25T01:45:00Z")),
        ("2026-10-25T01:45:00Z", closed("2026-10-26T01:15:00Z")),
    ] {
        assert_eq!(passage(&[&night], at(now)), expected, "{now}");
    }
}

/// A window is as long as it says, also when the clocks are changed while it is open.
#[test]
fn a_window_across_a_change_of_clocks_lasts_as_long_as_any_other() {
    let evening = [allow("0 23 * * *", 5 * 60, "Europe/Berlin")];
    assert_eq!(passage(&[&evening], at("2026-03-28T23:00:00Z")), open("2026-03-29T03:00:00Z"));
    assert_eq!(passage(&[&evening], at("2026-10-24T22:00:00Z")), open("2026-10-25T02:00:00Z"));
}

/// Samoa left out the whole of 2011-12-30; Lord Howe Island changes its clocks by half an hour.
#[test]
fn clocks_may_be_changed_by_a_day_or_by_half_an_hour() {
    let noon = [allow("0 12 30 * *", 60, "Pacific/Apia")];
    assert_eq!(passage(&[&noon], at("2011-12-30T09:00:00Z")), closed("2011-12-30T10:00:00Z"));
    let night = [allow("10 2 * * *", 10, "Australia/Lord_Howe")];
    assert_eq!(passage(&[&night], at("2026-10-03T15:00:00Z")), closed("2026-10-03T15:30:00Z"));
}

#[test]
fn either_day_is_enough_where_neither_begins_with_a_star() {
    let days = |opens: &str| {
        let windows = [allow(opens, 60, "UTC")];
        let day = |day: u32| at(&format!("2026-03-{day:02}T00:00:00Z"));
        (1..=31).filter(|number| passage(&[&windows], day(*number)).is_open()).collect::<Vec<u32>>()
    };
    // The 13th is a Friday.
    assert_eq!(days("0 0 1,13 * fri"), [1, 6, 13, 20, 27]);
    assert_eq!(days("0 0 * * fri"), [6, 13, 20, 27]);
    assert_eq!(days("0 0 13 * *"), [13]);
    assert_eq!(days("0 0 */2 * 5"), [13, 27]);
    assert_eq!(days("0 0 * mar sat-sun"), days("0 0 * 3 6,7"));
    assert_eq!(days("0 0 * * 0"), [1, 8, 15, 22, 29]);
}

#[test]
fn what_is_no_cron_expression_is_refused_with_what_to_write() {
    for (text, expected) in [
        ("0 2 * *", "it has 4 fields; expected five"),
        ("0 0 2 * * *", "it has 6 fields; expected five"),
        ("@daily", "it has 1 fields"),
        ("60 * * * *", "\"60\" is no minute; expected a number from 0 to 59"),
        ("0 24 * * *", "\"24\" is no hour"),
        ("0 0 0 * *", "\"0\" is no day of the month"),
        ("0 0 * 13 *", "\"13\" is no month"),
        ("0 0 * * 8", "\"8\" is no day of the week"),
        ("0 0 * * mondays", "or a name's first three letters"),
        ("+5 * * * *", "\"+5\" is no minute"),
        ("5/10 * * * *", "write 5-59/10"),
        ("*/0 * * * *", "has no step from 1 to 59"),
        ("0 22-2 * * *", "write 22-23,0-2"),
        (", * * * *", "\"\" is no minute"),
        ("0 0 30 2 *", "no calendar has such a day"),
        ("0 0 31 4,6 *", "no calendar has such a day"),
        ("0 0 L * *", "\"L\" is no day of the month"),
    ] {
        let error = text.parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for text in ["0 0 29 2 *", "*/7 * * * *", "0-30/5,45 0,12 1-7 jan-mar Mon", "59 23 31 12 7"] {
        assert_eq!(text.parse::<Cron>().unwrap().to_string(), text);
    }
    assert_eq!(" 0  2 * *\t* ".parse::<Cron>().unwrap().to_string(), "0 2 * * *");
}

#[test]
fn what_is_no_time_zone_is_refused_with_its_likely_name() {
    for (text, expected) in [
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("Europe/Nowhere", "write a name of the IANA data base"),
        ("CEST", "write a name"),
        ("+02:00", "write a name"),
        ("/etc/passwd", "write a name"),
        ("utc", "did you mean UTC?"),
        ("", "write a name"),
    ] {
        let error = text.parse::<Zone>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_window_reads_back_what_it_wrote_and_refuses_what_contradicts_itself() {
    let text = r#"{"deny":"0 9 * * mon-fri","for_secs":28800,"time_zone":"America/New_York"}"#;
    let read: Window = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!(read.to_string(), "deny 0 9 * * mon-fri for 8h, America/New_York");
    assert_eq!(allow("0 2 * * *", 24 * 60 + 90, "UTC").to_string(), "allow 0 2 * * * for 1d1h30m, UTC");
    let refused = |text: &str| serde_json::from_str::<Window>(text).unwrap_err().to_string();
    assert!(refused(r#"{"for_secs":60,"time_zone":"UTC"}"#).contains("either `allow` or `deny`"));
    assert!(refused(r#"{"allow":"* * * * *","deny":"* * * * *","for_secs":60,"time_zone":"UTC"}"#).contains("either"));
    assert!(refused(r#"{"allow":"* * * * *","for_secs":59,"time_zone":"UTC"}"#).contains("from 1 minute"));
}

/// What a window says, told minute by minute: looked up on a clock on the wall, without any of the arithmetic above.
struct Wall {
    from: Second,
    open: Vec<bool>,
}

/// Field by field, as a person reads it.
fn shows(cron: &str, civil: jiff::civil::DateTime) -> bool {
    let fields: Vec<&str> = cron.split(' ').collect();
    // `least`: the first number that `*` counts from in this field.
    let fits = |field: &str, number: i8, least: i8| {
        field.split(',').any(|part| {
            let (range, step) = part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap()));
            let (first, last): (i8, i8) = match range.split_once('-') {
                Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
                None if range == "*" => (least, i8::MAX),
                None => (range.parse().unwrap(), range.parse().unwrap()),
            };
            (first..=last).contains(&number) && (number - first) % step == 0
        })
    };
    let weekday = civil.weekday().to_sunday_zero_offset();
    let of_month = fits(fields[2], civil.day(), 1);
    let of_week = fits(fields[4], weekday, 0) || weekday == 0 && fits(fields[4], 7, 0);
    let both = fields[2].starts_with('*') || fields[4].starts_with('*');
    let day = if both { of_month && of_week } else { of_month || of_week };
    day && fits(fields[0], civil.minute(), 0) && fits(fields[1], civil.hour(), 0) && fits(fields[3], civil.month(), 1)
}

impl Wall {
    /// From `from` for so many minutes; `before` more are looked at for what opened earlier.
    fn look(cron: &str, minutes: u64, zone: &str, from: Second, length: usize) -> Self {
        let rules = TimeZoneDatabase::bundled().get(zone).unwrap();
        let civil = |second: Second| rules.to_datetime(Timestamp::from_second(second).unwrap());
        let before = usize::try_from(minutes).unwrap() + 1;
        let mut open = vec![false; before + length];
        for minute in 0..open.len() {
            let second = from + (Second::try_from(minute).unwrap() - Second::try_from(before).unwrap()) * 60;
            let (last, now) = (civil(second - 60), civil(second));
            let mut shown = BTreeSet::from([now]);
            let mut left_out = last.checked_add(jiff::Span::new().minutes(1)).unwrap();
            while left_out < now {
                shown.insert(left_out);
                left_out = left_out.checked_add(jiff::Span::new().minutes(1)).unwrap();
            }
            if shown.iter().any(|civil| shows(cron, *civil)) {
                let until = (minute + usize::try_from(minutes).unwrap()).min(open.len());
                open[minute..until].fill(true);
            }
        }
        Self { from, open: open.split_off(before) }
    }
}

/// Around changes of clocks: forward, back, by half an hour, by a day, at midnight, on both halves of the globe, for a
/// month of fasting, and never.
const CHANGES: [(&str, &str); 13] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("America/Havana", "2026-03-08T05:00:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("Asia/Beirut", "2026-03-28T22:00:00Z"),
    ("Europe/Dublin", "2026-10-25T01:00:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
    ("Asia/Kathmandu", "2026-05-01T00:00:00Z"),
];

/// Minutes that are compared.
const LENGTH: usize = 3 * 24 * 60;

fn written() -> impl Strategy<Value = String> {
    let field = |least: u8, most: u8| {
        prop_oneof![
            3 => Just("*".to_owned()),
            1 => (2..8_u8).prop_map(|step| format!("*/{step}")),
            3 => (least..=most).prop_map(|number| number.to_string()),
            1 => (least..=most, least..=most).prop_map(|(one, other)| format!("{one},{other}")),
            1 => (least..=most, least..=most, 1..5_u8)
                .prop_map(|(one, other, step)| format!("{}-{}/{step}", one.min(other), one.max(other))),
        ]
    };
    let days = prop_oneof![4 => Just("*".to_owned()), 1 => field(1, 28)];
    let weekdays = prop_oneof![4 => Just("*".to_owned()), 1 => field(0, 7)];
    (field(0, 59), field(0, 23), days, Just("*"), weekdays)
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_minute_around_a_change_of_clocks_is_what_a_clock_on_the_wall_shows(
        change in 0..CHANGES.len(), opens in written(), minutes in prop_oneof![1..90_u64, 90..1_500_u64],
        sampled in prop::collection::vec(0..LENGTH, 16), denied in written(), denied_for in prop_oneof![1..30_u64, 30..300_u64],
    ) {
        let (zone, changed) = CHANGES[change];
        let from = at(changed).timestamp() - 36 * 60 * 60;
        let groups = [vec![allow(&opens, minutes, zone)], vec![deny(&denied, denied_for, "Europe/London")]];
        let groups = [groups[0].as_slice(), groups[1].as_slice()];
        let allowed = Wall::look(&opens, minutes, zone, from, LENGTH);
        let denied = Wall::look(&denied, denied_for, "Europe/London", from, LENGTH);
        let expected: Vec<bool> =
            allowed.open.iter().zip(&denied.open).map(|(allowed, denied)| *allowed && !denied).collect();
        for minute in sampled {
            let is_open = &expected[minute];
            let now = DateTime::from_timestamp(allowed.from + Second::try_from(minute).unwrap() * 60 + 59, 0).unwrap();
            let passage = passage(&groups, now);
            prop_assert_eq!(passage.is_open(), *is_open, "{} {}", now, opens);
            let changes = expected[minute..].iter().position(|other| other != is_open);
            let changes = changes.map(|later| allowed.from + Second::try_from(minute + later).unwrap() * 60);
            let (Passage::Open { closes_at: told } | Passage::Closed { opens_at: told }) = passage;
            match changes {
                Some(changes) => prop_assert_eq!(told.map(|told| told.timestamp()), Some(changes), "{} {}", now, opens),
                // It changes after what was looked at, or never.
                None => prop_assert!(told.is_none_or(|told| told.timestamp() >= from + 60 * Second::try_from(LENGTH).unwrap())),
            }
        }
    }
}
