//! What is done about drift.

use super::*;
use crate::model::drift::{DriftMode, DriftSpec};

fn read(drift: &str) -> Result<DriftSpec, String> {
    let text = format!("name: web\nprofile: {{deploy: {{}}}}\ndrift: {drift}\n");
    let read = manifest(&text, "m.yaml");
    read.map(|read| read.drift.as_ref().unwrap().spec()).map_err(|error| shown(Err::<(), _>(error)).remove(0))
}

#[test]
fn what_is_to_be_done_about_drift_is_read() {
    let spec = read("{mode: repair, ignore: [\"cache/**\", /etc/x/*], interval: 10m, repairs_per_hour: 2}").unwrap();
    assert_eq!((spec.mode, spec.interval_ms, spec.repairs_per_hour), (Some(DriftMode::Repair), Some(600_000), Some(2)));
    assert!(spec.ignore[0].matches("cache/a/b") && spec.ignore[1].matches("/etc/x/y"));
    assert_eq!(read("{mode: off}").unwrap().mode, Some(DriftMode::Off));
    assert_eq!(read("{}").unwrap(), DriftSpec::default());
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    for (drift, expected) in [
        ("{mode: fix}", "3:15: drift.mode: unknown choice `fix`"),
        ("{ignore: [a/../b]}", "3:18: drift.ignore[0]: `a/../b` matches nothing"),
        ("{ignore: [\"[a\"]}", "3:18: drift.ignore[0]: `[a` is not a pattern"),
        ("{interval: 5s}", "3:19: drift.interval: `5s` is not from 10s to 168h"),
        ("{mode: repair, repairs_per_hour: 61}", "3:41: drift.repairs_per_hour: drift.repairs_per_hour of 61 is not"),
        ("{mode: report, repairs_per_hour: 1}", "3:23: drift.repairs_per_hour: nothing is put back but with"),
    ] {
        let error = read(drift).unwrap_err();
        assert!(error.starts_with(expected), "{drift}: {error}");
    }
}
